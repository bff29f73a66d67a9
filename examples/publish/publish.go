// Publishes an order: publish ID ITEM
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

type order struct {
	ID   string `json:"id"`
	Item string `json:"item"`
}

type receipt struct {
	ID       string `json:"id"`
	Topic    string `json:"topic"`
	Position string `json:"position"`
}

type problem struct {
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	Retryable bool   `json:"retryable"`
}

var client = &http.Client{Timeout: 15 * time.Second}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("publish ID ITEM")
	}
	stored, err := publish(order{ID: os.Args[1], Item: os.Args[2]})
	if err != nil {
		log.Fatal(err)
	}
	json.NewEncoder(os.Stdout).Encode(stored)
}

// publish returns a receipt once the order is stored.
func publish(order order) (*receipt, error) {
	body, err := json.Marshal(order)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest("POST", sidespan()+"/v1/topics/orders/messages", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Sidespan-Key", order.ID)
	request.Header.Set("Idempotency-Key", fmt.Sprintf("%q", order.ID))
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var said problem
		if err := json.NewDecoder(response.Body).Decode(&said); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %s (retry: %t)", said.Code, said.Detail, said.Retryable)
	}
	var stored receipt
	return &stored, json.NewDecoder(response.Body).Decode(&stored)
}

func sidespan() string {
	if url := os.Getenv("SIDESPAN_URL"); url != "" {
		return url
	}
	return "http://127.0.0.1:7400"
}
