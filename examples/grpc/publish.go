// Publishes an order by gRPC: publish ID ITEM
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	sidespanv1 "sidespan.example/grpc/sidespan/v1"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("publish ID ITEM")
	}
	connection, err := grpc.NewClient(target(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	position, err := publish(sidespanv1.NewPublisherClient(connection), os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(explain(err))
	}
	fmt.Println("stored at", position)
}

// publish returns where the order is once it is stored.
func publish(publisher sidespanv1.PublisherClient, id, item string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	order, err := json.Marshal(map[string]string{"id": id, "item": item})
	if err != nil {
		return "", err
	}
	answer, err := publisher.Publish(ctx, &sidespanv1.PublishRequest{Messages: []*sidespanv1.Message{{
		Topic:       "orders",
		Id:          id, // makes it safe to send again what may have been stored
		Key:         []byte(id),
		ContentType: "application/json",
		Payload:     order,
	}}})
	if err != nil {
		return "", err
	}
	return answer.GetOutcomes()[0].GetReceipt().GetPosition(), nil
}

// explain says what to branch on, and what to tell people.
func explain(err error) string {
	failure := status.Convert(err)
	for _, detail := range failure.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason + ": " + failure.Message()
		}
	}
	return err.Error()
}

func target() string {
	if url := os.Getenv("SIDESPAN_URL"); url != "" {
		return strings.TrimPrefix(url, "http://")
	}
	return "127.0.0.1:7400"
}
