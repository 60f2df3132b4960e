package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/supervisor/control/client"
)

// stdioCommand is the far side of --host ssh://…: it joins its standard input
// and output to the socket of this machine.
func stdioCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:    "stdio",
		Short:  "Join standard input and output to the control socket, for --host",
		Hidden: true,
		Args:   exactArgs(0, "brood stdio"),
		RunE: func(*cobra.Command, []string) error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			path, err := client.ResolvePath(g.socket)
			if err != nil {
				return err
			}
			conn, err := client.Dial(ctx, path)
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := fmt.Println(client.TunnelHello); err != nil {
				return err
			}
			return join(conn.(*net.UnixConn))
		},
	}
}

// join copies both ways until the supervisor hangs up. The end of standard
// input is told to it as the end of what is sent: to the line protocol that is
// no hanging up.
func join(conn *net.UnixConn) error {
	go func() { // ends with the program
		_, _ = io.Copy(conn, os.Stdin) // the other direction tells how it went
		_ = conn.CloseWrite()
	}()
	_, err := io.Copy(os.Stdout, conn)
	return err
}
