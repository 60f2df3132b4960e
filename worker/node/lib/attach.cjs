'use strict';
// What a worker finds in its environment: the connection, and listening sockets.

const fs = require('node:fs');
const net = require('node:net');

/** This process was not started as a worker by a brood supervisor. */
class NotSupervised extends Error {
  constructor(message) {
    super(message);
    this.name = 'NotSupervised';
  }
}

/**
 * Take the socket that BROOD_FD names, and the variable with it. The inode proves
 * that the descriptor is the supervisor's, not another file under the same number
 * in a process that merely inherited the variable.
 */
function attach(environ = process.env) {
  const value = environ.BROOD_FD;
  delete environ.BROOD_FD;
  if (value === undefined) throw new NotSupervised('BROOD_FD is not set; start this program with `brood run`');
  const match = /^(\d{1,9}):(\d{1,20})$/.exec(value);
  const fd = match ? Number(match[1]) : 0;
  if (fd < 3) throw new NotSupervised(`BROOD_FD=${value} is not <fd>:<inode>, fd at least 3`);
  let status;
  try {
    status = fs.fstatSync(fd, {bigint: true});
  } catch (e) {
    throw new NotSupervised(`BROOD_FD=${value}: ${e.code}; was it closed on the way here?`);
  }
  if (!status.isSocket() || status.ino !== BigInt(match[2])) {
    throw new NotSupervised(`BROOD_FD=${value}: descriptor ${fd} is another file; it was meant for a parent`);
  }
  // libuv looks at the family and the type, and has it close-on-exec and
  // non-blocking from here on.
  let socket;
  try {
    socket = new net.Socket({fd, readable: true, writable: true, allowHalfOpen: false});
  } catch (e) {
    throw new NotSupervised(`BROOD_FD=${value}: no stream socket: ${e.message}`);
  }
  if (socket._handle?.constructor.name !== 'Pipe') {
    throw new NotSupervised(`BROOD_FD=${value}: not a stream socket of AF_UNIX`);
  }
  return socket;
}

/**
 * Take the listening sockets that the configuration names under `listen`: their
 * descriptors by name, for server.listen({fd}). They come in the manner of
 * sd_listen_fds(3). The variables are removed, so a second call finds nothing. A
 * socket without a name has its number, from 0.
 */
function listeners(environ = process.env) {
  const {LISTEN_PID: pid, LISTEN_FDS: count, LISTEN_FDNAMES: names = ''} = environ;
  for (const key of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete environ[key];
  const found = {};
  if (!count || pid !== String(process.pid)) return found;
  if (!/^\d{1,5}$/.test(count)) throw new TypeError(`LISTEN_FDS=${count} is no number of sockets`);
  const called = names.split(':');
  for (let i = 0; i < Number(count); i++) found[called[i] || String(i)] = 3 + i;
  return found;
}

module.exports = {NotSupervised, attach, listeners};
