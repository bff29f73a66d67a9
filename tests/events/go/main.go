// CloudEvents by the SDK for Go, in every mode that it has: over Kafka and NATS, and over HTTP.
//
//	go-sdk publish ADDRESS PLACE EVENTS        publishes each event in each mode
//	go-sdk read ADDRESS PLACE EVENTS COUNT     says `ready`, and prints what comes then as the SDK reads it
//
// ADDRESS says what is spoken (kafka://, nats://, http://), EVENTS is a file of events in JSON. Over HTTP, ADDRESS is
// where events are posted, or where they are received.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/binding/format/protobuf/v2"
	"github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	"github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/nats-io/nats.go"
)

func main() {
	verb, address, place, file := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	scheme, host, _ := strings.Cut(address, "://")
	if verb == "publish" {
		events := load(file)
		switch scheme {
		case "kafka":
			publishKafka(host, place, events)
		case "nats":
			publishNats(address, place, events)
		case "http":
			publishHTTP(address, events)
		}
		return
	}
	count, err := strconv.Atoi(os.Args[5])
	check(err)
	switch scheme {
	case "kafka":
		readKafka(host, place, count)
	case "nats":
		readNats(address, place, count)
	case "http":
		readHTTP(host, count)
	}
}

// The modes that every transport has.
func modes() []context.Context {
	ctx := context.Background()
	return []context.Context{binding.WithForceBinary(ctx), binding.WithForceStructured(ctx)}
}

func publishKafka(broker, topic string, events []event.Event) {
	config := sarama.NewConfig()
	config.Version = sarama.V3_0_0_0
	sender, err := kafka_sarama.NewSender([]string{broker}, config, topic)
	check(err)
	for _, one := range events {
		for _, ctx := range modes() {
			check(sender.Send(ctx, binding.ToMessage(&one)))
		}
	}
	check(sender.Close(context.Background()))
}

func readKafka(broker, topic string, count int) {
	config := sarama.NewConfig()
	config.Version = sarama.V3_0_0_0
	consumer, err := sarama.NewConsumer([]string{broker}, config)
	check(err)
	partitions, err := consumer.Partitions(topic)
	check(err)
	records := make(chan *sarama.ConsumerMessage)
	for _, partition := range partitions {
		from, err := consumer.ConsumePartition(topic, partition, sarama.OffsetNewest)
		check(err)
		go func() {
			for record := range from.Messages() {
				records <- record
			}
		}()
	}
	fmt.Println("ready")
	for range count {
		show(kafka_sarama.NewMessageFromConsumerMessage(<-records), false)
	}
}

func publishNats(address, subject string, events []event.Event) {
	connection, err := nats.Connect(address)
	check(err)
	defer connection.Close()
	stream, err := connection.JetStream()
	check(err)
	name, err := stream.StreamNameBySubject(subject)
	check(err)
	sender, err := nats_jetstream.NewSenderFromConn(connection, name, subject, nil)
	check(err)
	for _, one := range events {
		for _, ctx := range modes() {
			check(sender.Send(ctx, binding.ToMessage(&one)))
		}
	}
}

func readNats(address, subject string, count int) {
	connection, err := nats.Connect(address)
	check(err)
	defer connection.Close()
	stream, err := connection.JetStream()
	check(err)
	messages := make(chan *nats.Msg, count)
	_, err = stream.ChanSubscribe(subject, messages, nats.DeliverNew(), nats.OrderedConsumer())
	check(err)
	fmt.Println("ready")
	for range count {
		show(nats_jetstream.NewMessage(<-messages), true)
	}
}

func publishHTTP(address string, events []event.Event) {
	inProtobuf := binding.UseFormatForEvent(binding.WithForceStructured(context.Background()), format.Protobuf)
	for _, one := range events {
		for _, ctx := range append(modes(), inProtobuf) {
			request, err := http.NewRequest(http.MethodPost, address, nil)
			check(err)
			check(cehttp.WriteRequest(ctx, binding.ToMessage(&one), request))
			response, err := http.DefaultClient.Do(request)
			check(err)
			if response.StatusCode != http.StatusOK {
				log.Fatal(response.Status)
			}
			check(response.Body.Close())
		}
	}
}

func readHTTP(host string, count int) {
	listener, err := net.Listen("tcp", host)
	check(err)
	fmt.Println("ready")
	done := make(chan struct{}, count)
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		show(cehttp.NewMessageFromHttpRequest(request), true)
		w.WriteHeader(http.StatusNoContent)
		w.(http.Flusher).Flush()
		done <- struct{}{}
	}))
	for range count {
		<-done
	}
}

// Prints an event. In headers of HTTP and NATS attributes are percent-encoded, which the SDK leaves to its user.
func show(message binding.Message, encoded bool) {
	mode := message.ReadEncoding().String()
	read, err := binding.ToEvent(context.Background(), message)
	check(err)
	text := func(value any) string {
		text, err := types.Format(value)
		check(err)
		if encoded && mode == "binary" {
			text, err = url.PathUnescape(text)
			check(err)
		}
		return text
	}
	attributes := map[string]string{
		"specversion": read.SpecVersion(),
		"id":          text(read.ID()),
		"source":      text(read.Source()),
		"type":        text(read.Type()),
	}
	optional := map[string]string{
		"subject":         text(read.Subject()),
		"dataschema":      text(read.DataSchema()),
		"datacontenttype": read.DataContentType(),
	}
	for name, value := range optional {
		if value != "" {
			attributes[name] = value
		}
	}
	if !read.Time().IsZero() {
		attributes["time"] = types.FormatTime(read.Time())
	}
	for name, value := range read.Extensions() {
		// Of a record of Kafka the SDK tells where it was, as if the event said so.
		if !strings.HasPrefix(name, "kafka") {
			attributes[name] = text(value)
		}
	}
	line, err := json.Marshal(map[string]any{"mode": mode, "attributes": attributes, "data": read.Data()})
	check(err)
	fmt.Println(string(line))
}

func load(file string) []event.Event {
	text, err := os.ReadFile(file)
	check(err)
	var events []event.Event
	check(json.Unmarshal(text, &events))
	return events
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
