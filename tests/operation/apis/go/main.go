// The API of paths.mjs in Go's own router, chi and gorilla/mux. Writes the ports by name as one line of JSON.
package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/mux"
)

func mark(handler string, id func(*http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Handler", handler)
		w.Header().Set("X-Id", url.PathEscape(id(r)))
		w.Write([]byte("in"))
	}
}

func none(*http.Request) string { return "" }

func order(id func(*http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "DELETE" {
			mark("delete", id)(w, r)
		} else {
			mark("read", id)(w, r)
		}
	}
}

func standard() http.Handler {
	id := func(r *http.Request) string { return r.PathValue("id") }
	router := http.NewServeMux()
	router.Handle("/admin", mark("admin", none))
	router.Handle("/admin/", mark("admin", none))
	router.Handle("/orders/{id}", order(id))
	router.Handle("/users/{id}", mark("user", id))
	router.Handle("/", mark("public", none))
	return router
}

func ofChi(lenient bool) http.Handler {
	id := func(r *http.Request) string { return chi.URLParam(r, "id") }
	router := chi.NewRouter()
	if lenient {
		router.Use(middleware.CleanPath, middleware.StripSlashes, middleware.URLFormat)
	}
	router.Handle("/admin", mark("admin", none))
	router.Handle("/admin/*", mark("admin", none))
	router.Handle("/orders/{id}", order(id))
	router.Handle("/users/{id}", mark("user", id))
	router.Handle("/*", mark("public", none))
	return router
}

func ofGorilla() http.Handler {
	id := func(r *http.Request) string { return mux.Vars(r)["id"] }
	router := mux.NewRouter()
	router.Handle("/admin", mark("admin", none))
	router.PathPrefix("/admin/").Handler(mark("admin", none))
	router.Handle("/orders/{id}", order(id))
	router.Handle("/users/{id}", mark("user", id))
	router.PathPrefix("/").Handler(mark("public", none))
	return router
}

func main() {
	ports := map[string]int{}
	routers := map[string]http.Handler{"Go": standard(), "chi": ofChi(false), "chi, lenient": ofChi(true), "gorilla/mux": ofGorilla()}
	for name, router := range routers {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		ports[name] = listener.Addr().(*net.TCPAddr).Port
		go http.Serve(listener, router)
	}
	json.NewEncoder(os.Stdout).Encode(ports)
	select {}
}
