// Takes orders over a WebSocket and settles them, until it is stopped.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

const window = 100 // messages that may be on their way

type frame struct {
	Type     string   `json:"type"`
	Messages int      `json:"messages,omitempty"`
	AckIDs   []string `json:"ack_ids,omitempty"`
}

type answer struct {
	Type    string `json:"type"`
	Detail  string `json:"detail"`
	Message struct {
		Position string                    `json:"position"`
		AckID    string                    `json:"ack_id"`
		Data     struct{ ID, Item string } `json:"data"`
	} `json:"message"`
}

func main() {
	for {
		log.Print(consume(context.Background()), "; what is not settled comes again")
		time.Sleep(time.Second)
	}
}

// consume takes messages until the connection ends.
func consume(ctx context.Context) error {
	options := websocket.DialOptions{Subprotocols: []string{"sidespan.v1.json"}}
	socket, _, err := websocket.Dial(ctx, sidespan()+"/v1/subscriptions/billing/stream", &options)
	if err != nil {
		return err
	}
	defer socket.CloseNow()
	socket.SetReadLimit(4 << 20)
	if err := wsjson.Write(ctx, socket, frame{Type: "credit", Messages: window}); err != nil {
		return err
	}
	for {
		var answer answer
		if err := wsjson.Read(ctx, socket, &answer); err != nil {
			return err
		}
		if answer.Type != "message" {
			log.Print(answer.Type, " ", answer.Detail)
			continue
		}
		message := answer.Message
		fmt.Println(message.Position, message.Data.ID, message.Data.Item)
		for _, frame := range []frame{
			{Type: "ack", AckIDs: []string{message.AckID}},
			{Type: "credit", Messages: 1},
		} {
			if err := wsjson.Write(ctx, socket, frame); err != nil {
				return err
			}
		}
	}
}

func sidespan() string {
	if url := os.Getenv("SIDESPAN_URL"); url != "" {
		return strings.Replace(url, "http", "ws", 1)
	}
	return "ws://127.0.0.1:7400"
}
