/* The floor under the wire, in bare C: a parent and its child, a socketpair
 * between them, one write and one read for each message.
 *
 * A line "SIZE CALLERS WARM_MS MS" on stdin asks for a run. The child is forked
 * for it, since it must know the size. "warm PID" answers when the warming up is
 * over, a line on stdin starts the measurement, "CALLS NANOSECONDS" ends it.
 *
 * CALLERS is how many messages are under way at once. While they fit the
 * socket's buffer both ends block in read and write. Where they do not, the
 * parent polls, so that two full buffers do not wait for each other.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void get(int fd, char *b, size_t n)
{
	while (n > 0) {
		ssize_t k = read(fd, b, n);
		if (k == 0)
			exit(0);
		if (k < 0)
			die("read");
		b += k;
		n -= (size_t)k;
	}
}

static void put(int fd, const char *b, size_t n)
{
	while (n > 0) {
		ssize_t k = write(fd, b, n);
		if (k < 0)
			die("write");
		b += k;
		n -= (size_t)k;
	}
}

static void echo(int fd, size_t size)
{
	char *b = malloc(size);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		get(fd, b, size);
		put(fd, b, size);
	}
}

static size_t size;
static char *out, *in;

/* blocking keeps n messages under way until the time is over. */
static int64_t blocking(int fd, int n, int64_t until)
{
	int64_t calls = 0;
	for (int i = 0; i < n; i++)
		put(fd, out, size);
	while (now() < until) {
		get(fd, in, size);
		put(fd, out, size);
		calls++;
	}
	for (int i = 0; i < n; i++, calls++)
		get(fd, in, size);
	return calls;
}

/* polling is the same for messages that fill the socket's buffer. */
static int64_t polling(int fd, int n, int64_t until)
{
	int64_t calls = 0;
	int under_way = 0;
	size_t sent = 0, got = 0;
	for (;;) {
		int moved = 0, more = sent > 0 || now() < until;
		if (!more && under_way == 0)
			return calls;
		if (more && under_way < n) {
			ssize_t k = write(fd, out + sent, size - sent);
			if (k < 0 && errno != EAGAIN)
				die("write");
			if (k > 0) {
				moved = 1;
				sent += (size_t)k;
				if (sent == size) {
					sent = 0;
					under_way++;
				}
			}
		}
		if (under_way > 0 || sent > 0) {
			ssize_t k = read(fd, in + got, size - got);
			if (k == 0 || (k < 0 && errno != EAGAIN))
				die("read");
			if (k > 0) {
				moved = 1;
				got += (size_t)k;
				if (got == size) {
					got = 0;
					under_way--;
					calls++;
				}
			}
		}
		if (!moved) {
			struct pollfd p = {fd, POLLIN, 0};
			if (under_way < n && (sent > 0 || now() < until))
				p.events |= POLLOUT;
			poll(&p, 1, -1);
		}
	}
}

int main(void)
{
	char line[256];
	int n, warm_ms, ms;
	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "%zu %d %d %d", &size, &n, &warm_ms, &ms) != 4)
			return 2;
		int fds[2];
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
			die("socketpair");
		pid_t pid = fork();
		if (pid < 0)
			die("fork");
		if (pid == 0) {
			close(fds[0]);
			echo(fds[1], size);
		}
		close(fds[1]);
		out = malloc(size);
		in = malloc(size);
		memset(out, 'x', size);
		int64_t (*run)(int, int, int64_t) = blocking;
		if (n > 1 && (size_t)n * size > 65536) {
			run = polling;
			if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
				die("fcntl");
		}
		run(fds[0], n, now() + (int64_t)warm_ms * 1000000);
		printf("warm %d\n", pid);
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin))
			return 0;
		int64_t begin = now();
		int64_t calls = run(fds[0], n, begin + (int64_t)ms * 1000000);
		printf("%lld %lld\n", (long long)calls, (long long)(now() - begin));
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin)) /* the child's clock has been read */
			return 0;
		if (memcmp(in, out, size))
			return 3;
		free(in);
		free(out);
		close(fds[0]);
		waitpid(pid, NULL, 0);
	}
	return 0;
}
