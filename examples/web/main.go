// Web is an HTTP server that is deployed without dropping a request:
//
//	pools:
//	  web:
//	    command: ["./web"]
//	    workers: 4
//	    listen: {http: "tcp://127.0.0.1:8080"}
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"

	"example.com/brood/worker"
	"example.com/brood/worker/web"
)

func main() {
	var w worker.Worker
	version := os.Getenv("VERSION")
	err := web.Serve(&w, "http", &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, "%s %s\n", w.Self().Name, version)
	})})
	if err != nil {
		log.Fatal(err)
	}
}
