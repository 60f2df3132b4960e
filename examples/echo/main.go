// Echo is a brood worker in ten lines:
//
//	brood run -n 4 --name web -- ./echo
package main

import (
	"context"
	"log"

	"example.com/brood/examples/echo/commands"
	"example.com/brood/worker"
)

func main() {
	var w worker.Worker
	commands.Register(&w)
	if err := w.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
