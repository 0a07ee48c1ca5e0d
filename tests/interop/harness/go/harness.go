// Asks the snippet about each token: a line of JSON in, a line of JSON out.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
)

type answer struct {
	Name   string         `json:"name"`
	OK     bool           `json:"ok"`
	Claims map[string]any `json:"claims,omitempty"`
	Error  string         `json:"error,omitempty"`
}

func main() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var asked struct{ Name, Token string }
		if err := in.Decode(&asked); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		claims, err := check(context.Background(), asked.Token)
		said := answer{Name: asked.Name, OK: err == nil, Claims: claims}
		if err != nil {
			said.Error = err.Error()[:min(300, len(err.Error()))]
		}
		if err := out.Encode(said); err != nil {
			log.Fatal(err)
		}
	}
}
