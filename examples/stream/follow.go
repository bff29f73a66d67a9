// Follows the orders from the beginning, as server-sent events, until it is stopped.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

type message struct {
	Position string                    `json:"position"`
	Data     struct{ ID, Item string } `json:"data"`
}

func main() {
	var lastID string // where to go on after a break; kept in a file, it survives a restart too
	for {
		if err := follow(&lastID); err != nil {
			log.Print(err)
		}
		time.Sleep(time.Second)
	}
}

// follow prints messages until the stream ends.
func follow(lastID *string) error {
	request, err := http.NewRequest("GET", sidespan()+"/v1/topics/orders/stream?start=begin", nil)
	if err != nil {
		return err
	}
	if *lastID != "" {
		request.Header.Set("Last-Event-ID", *lastID)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("refused with %s", response.Status)
	}
	// A comment comes every 15 seconds: silence for longer means that the connection is dead.
	silence := time.AfterFunc(40*time.Second, func() { response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 4<<20)
	event := map[string]string{}
	for lines.Scan() {
		silence.Reset(40 * time.Second)
		if name, value, _ := strings.Cut(lines.Text(), ":"); name != "" {
			event[name] = strings.TrimPrefix(value, " ")
		} else if lines.Text() == "" {
			if err := take(event); err != nil {
				return err
			}
			if event["id"] != "" {
				*lastID = event["id"]
			}
			event = map[string]string{}
		}
	}
	return lines.Err()
}

func take(event map[string]string) error {
	data, found := event["data"]
	if !found {
		return nil // the place where the stream opened
	}
	if event["event"] == "error" {
		return fmt.Errorf("the stream ended: %s", data)
	}
	var message message
	if err := json.Unmarshal([]byte(data), &message); err != nil {
		return err
	}
	fmt.Println(message.Position, message.Data.ID, message.Data.Item)
	return nil
}

func sidespan() string {
	if url := os.Getenv("SIDESPAN_URL"); url != "" {
		return url
	}
	return "http://127.0.0.1:7400"
}
