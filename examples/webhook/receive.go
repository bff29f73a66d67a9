// Receives orders as signed webhooks. WEBHOOK_SECRET is what Sidespan signs with; PORT is 8080.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const largestBody = 1 << 20

func main() {
	webhook, err := webhooks.NewWebhook(os.Getenv("WEBHOOK_SECRET"))
	if err != nil {
		log.Fatal(err)
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, receiver(webhook)))
}

func receiver(webhook *webhooks.Webhook) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(response, request.Body, largestBody))
		if err != nil {
			response.WriteHeader(http.StatusRequestEntityTooLarge) // goes to the dead letters
			return
		}
		if webhook.Verify(body, request.Header) != nil {
			response.WriteHeader(http.StatusUnauthorized) // anybody can post here
			return
		}
		var order struct{ ID, Item string }
		if json.Unmarshal(body, &order) != nil {
			response.WriteHeader(http.StatusBadRequest) // it will not get better
			return
		}
		// A message may come twice, with the same id: a real service looks it up.
		fmt.Println(request.Header.Get("webhook-id"), order.ID, order.Item)
		response.WriteHeader(http.StatusNoContent) // it never comes again; 500 would let it come again
	}
}
