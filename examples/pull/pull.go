// Fetches orders and settles them, until it is stopped.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

type message struct {
	Position string                    `json:"position"`
	AckID    string                    `json:"ack_id"`
	Data     struct{ ID, Item string } `json:"data"`
}

var client = &http.Client{Timeout: 30 * time.Second}

func main() {
	log.SetFlags(0)
	for {
		if err := fetch(); err != nil {
			log.Print(err)
			time.Sleep(time.Second)
		}
	}
}

func fetch() error {
	// Waits for the first message, and returns what is there then: maybe nothing.
	var pulled struct{ Messages []message }
	if err := call("pull", map[string]any{"max_messages": 10, "wait": "10s"}, &pulled); err != nil {
		return err
	}
	var ids []string
	for _, message := range pulled.Messages {
		fmt.Println(message.Position, message.Data.ID, message.Data.Item)
		ids = append(ids, message.AckID)
	}
	if len(ids) == 0 {
		return nil
	}
	// 409: a lease was over before the work was; that message comes again.
	return call("ack", map[string]any{"ack_ids": ids}, &struct{}{})
}

func call(verb string, body, answer any) error {
	sent, err := json.Marshal(body)
	if err != nil {
		return err
	}
	url := sidespan() + "/v1/subscriptions/billing/" + verb
	response, err := client.Post(url, "application/json", bytes.NewReader(sent))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var problem struct{ Detail string }
		if err := json.NewDecoder(response.Body).Decode(&problem); err != nil {
			return err
		}
		return fmt.Errorf("%s: %s", response.Status, problem.Detail)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

func sidespan() string {
	if url := os.Getenv("SIDESPAN_URL"); url != "" {
		return url
	}
	return "http://127.0.0.1:7400"
}
