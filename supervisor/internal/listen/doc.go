// Package listen opens the sockets that workers accept on. The supervisor opens
// each once and holds it for as long as it is configured, so that restarting,
// scaling and reloading lose no connection: what comes while no worker accepts
// waits in the kernel's queue. Workers inherit it; the supervisor itself never
// accepts.
//
// # Blocking
//
// A socket is handed over in blocking mode, as systemd does unless NonBlocking=
// says otherwise (systemd.service(5)): a program that expects the other sets
// O_NONBLOCK itself, and one that can't would spin. Nothing here touches the mode
// after Open, nor does handing the socket to a child. But it belongs to the open
// file description (open(2)), which all that inherit the socket share: when one
// worker sets O_NONBLOCK, as Go's net package and event loops do, it is set for
// all, also for those started later. Workers of one pool are equal, so they agree;
// programs that differ in this want a socket each.
//
// The same goes for all of a socket's options. sd_listen_fds(3) has more on what
// a program has to mind.
package listen
