/* The floor under the engine's benchmarks, in bare C.
 *
 *   floor start N CHILD   vforks N, waits until each has written its mark (on
 *                         the FIFO that MARK names, counted by the caller),
 *                         kills and reaps them when a line comes on stdin, and
 *                         prints "stopped MICROSECONDS"
 *   floor keep CHILD      keeps one running: waitpid, vfork, for ever
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static pid_t spawn(char *child)
{
	char *argv[] = {child, NULL};
	pid_t pid = vfork();
	if (pid == 0) {
		execv(child, argv);
		_exit(127);
	}
	return pid;
}

int main(int argc, char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc == 3 && !strcmp(argv[1], "keep"))
		for (;;) {
			pid_t pid = spawn(argv[2]);
			if (pid < 0 || waitpid(pid, NULL, 0) != pid)
				return 1;
		}
	if (argc != 4 || strcmp(argv[1], "start"))
		return 2;
	int n = atoi(argv[2]);
	pid_t *pids = calloc((size_t)n, sizeof *pids);
	int64_t begin = now();
	for (int i = 0; i < n; i++)
		if ((pids[i] = spawn(argv[3])) < 0)
			return 1;
	printf("%lld\n", (long long)begin);
	fflush(stdout);
	getchar();
	begin = now();
	for (int i = 0; i < n; i++)
		kill(pids[i], SIGTERM);
	for (int i = 0; i < n; i++)
		waitpid(pids[i], NULL, 0);
	printf("%lld\n", (long long)(now() - begin));
	return 0;
}
