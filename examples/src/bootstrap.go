// The Lambda Runtime API in Go, with nothing but its standard library: answers every event with itself.
// A real function uses github.com/aws/aws-lambda-go, whose programs run just so.
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
)

var api = "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"

// next waits for an event and returns its request's id and its bytes.
func next() (string, []byte, error) {
	answer, err := http.Get(api + "next")
	if err != nil {
		return "", nil, err
	}
	defer answer.Body.Close()
	event, err := io.ReadAll(answer.Body)
	return answer.Header.Get("Lambda-Runtime-Aws-Request-Id"), event, err
}

// respond gives the answer to the event of that id.
func respond(id string, body []byte) error {
	answer, err := http.Post(api+id+"/response", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the answer was refused: %s", answer.Status)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

func main() {
	for {
		id, event, err := next()
		if err == nil {
			err = respond(id, event)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
}
