"""A service that has messages pushed to it.

    grpc_receiver.py read ADDRESS - COUNT       listens there, says `ready`, and prints what it is sent
"""

import json
import sys
import threading
from concurrent import futures

import grpc
import grpc_made
from sidespan.v1 import receiver_pb2, receiver_pb2_grpc

_, address, _, count = sys.argv[1:]
enough = threading.Semaphore(0)


class Receiver(receiver_pb2_grpc.ReceiverServicer):
    def Deliver(self, request, context):
        # Each is refused for a moment first, and comes again.
        if request.attempt == 1:
            context.abort(grpc.StatusCode.ABORTED, "once more")
        line = {"attempt": request.attempt, "subscription": request.subscription, **grpc_made.seen(request.message)}
        print(json.dumps(line), flush=True)
        enough.release()
        return receiver_pb2.DeliverResponse()


server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
receiver_pb2_grpc.add_ReceiverServicer_to_server(Receiver(), server)
assert server.add_insecure_port(address), address
server.start()
print("ready", flush=True)
for _ in range(int(count)):
    enough.acquire()
# The last answer is on its way.
server.stop(grace=5).wait()
