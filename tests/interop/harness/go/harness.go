// Asks the snippet about each token: a line of JSON in, a line of JSON out.
package main

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
)

type answer struct {
	Name    string            `json:"name"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Claims  map[string]any    `json:"claims,omitempty"`
}

func main() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var asked struct{ Name, Token, Scope string }
		if err := in.Decode(&asked); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		said := answer{Name: asked.Name, Headers: map[string]string{}}
		handler := guard(asked.Scope, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { said.Claims = claimsOf(r) }))
		request, recorder := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		request.Header["Authorization"] = []string{"Bearer " + asked.Token}
		handler.ServeHTTP(recorder, request)
		said.Status = recorder.Code
		for name := range recorder.Header() {
			said.Headers[name] = recorder.Header().Get(name)
		}
		if err := out.Encode(said); err != nil {
			log.Fatal(err)
		}
	}
}
