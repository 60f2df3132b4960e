/* A worker in C with a handful of commands to try a supervisor with. */
#define BROOD_IMPLEMENTATION
#include "../../worker/c/brood.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long calls;

/* The milliseconds in 200ms, 2s, 1m30s; -1: it is none. */
static long milliseconds(const char *text) {
    double sum = 0;
    if (!*text) return -1;
    while (*text) {
        char *unit;
        double n = strtod(text, &unit);
        if (unit == text || n < 0) return -1;
        if (!strncmp(unit, "ms", 2)) { sum += n; text = unit + 2; }
        else if (!strncmp(unit, "us", 2)) { sum += n / 1000; text = unit + 2; }
        else if (*unit == 's') { sum += n * 1000; text = unit + 1; }
        else if (*unit == 'm') { sum += n * 60000; text = unit + 1; }
        else if (*unit == 'h') { sum += n * 3600000; text = unit + 1; }
        else return -1;
    }
    return sum > 2e9 ? 2000000000L : (long)sum;
}

/* The words of a call, a space between. The caller frees it; NULL: they are none. */
static char *words(brood_call *call) {
    int i, n = brood_argc(call);
    size_t size = 1;
    char *text;
    if (n < 0) return NULL;
    for (i = 0; i < n; i++) size += strlen(brood_arg(call, i)) + 1;
    text = calloc(size, 1);
    if (!text) abort();
    for (i = 0; i < n; i++) {
        if (i) strcat(text, " ");
        strcat(text, brood_arg(call, i));
    }
    return text;
}

static void echo(brood_call *call, void *user) {
    char *text = words(call);
    (void)user;
    calls++;
    if (text) {
        brood_text(call, text);
    } else {
        size_t size;
        const unsigned char *payload = brood_payload(call, &size);
        brood_result(call, brood_codec(call), payload, size);
    }
    free(text);
}

static void slept(brood_call *call, void *user) {
    char text[128];
    (void)user;
    if (brood_canceled(call)) { brood_stop(call); return; }
    snprintf(text, sizeof text, "slept %s", brood_arg(call, 0));
    brood_text(call, text);
}

static void sleep_(brood_call *call, void *user) {
    long ms = milliseconds(brood_arg(call, 0));
    calls++;
    if (ms < 0) brood_fail(call, "usage", "sleep takes a duration such as 200ms");
    else brood_later(call, (int)ms, slept, user);
}

/* count and work keep where they are. */
struct progress { long at, n, every; };

static struct progress *start(brood_call *call, long n, long every) {
    struct progress *p = malloc(sizeof *p);
    if (!p) abort();
    p->at = 0;
    p->n = n;
    p->every = every;
    brood_keep(call, p, free);
    return p;
}

static void count_on(brood_call *call, void *user) {
    struct progress *p = brood_kept(call);
    int burst;
    if (brood_canceled(call)) { brood_stop(call); return; }
    for (burst = 0; p->at < p->n; burst++) {
        char text[32];
        int n = snprintf(text, sizeof text, "%ld\n", p->at + 1);
        int sent = brood_send(call, NULL, BROOD_TEXT, text, (size_t)n);
        if (sent < 0) { brood_stop(call); return; }
        if (sent == 0) { brood_later(call, -1, count_on, user); return; } /* until there is room */
        p->at++;
        if (p->every || burst == 1000) { brood_later(call, (int)p->every, count_on, user); return; } /* others have their turn */
    }
    brood_result(call, BROOD_BYTES, NULL, 0);
}

static void count(brood_call *call, void *user) {
    long every = brood_argc(call) > 1 ? milliseconds(brood_arg(call, 1)) : 0;
    calls++;
    if (brood_argc(call) < 1 || every < 0) { brood_fail(call, "usage", "count takes a number and perhaps a duration"); return; }
    start(call, atol(brood_arg(call, 0)), every);
    if (every) brood_later(call, (int)every, count_on, user);
    else count_on(call, user);
}

static void work_on(brood_call *call, void *user) {
    struct progress *p = brood_kept(call);
    char text[128];
    if (brood_canceled(call)) { brood_stop(call); return; }
    snprintf(text, sizeof text, "step %ld", p->at + 1);
    brood_progress(call, p->at, p->n, p->at == p->n ? "done" : text);
    if (p->at++ == p->n) {
        snprintf(text, sizeof text, "worked %s", brood_arg(call, 0));
        brood_text(call, text);
        return;
    }
    brood_later(call, (int)p->every, work_on, user);
}

static void work(brood_call *call, void *user) {
    long ms = milliseconds(brood_arg(call, 0));
    calls++;
    if (ms < 0) { brood_fail(call, "usage", "work takes a duration such as 5s"); return; }
    start(call, 10, ms / 10);
    work_on(call, user);
}

static void fds(brood_call *call, void *user) {
    const int *came;
    int n = brood_fds(call, &came);
    char text[16];
    (void)user;
    calls++;
    brood_result_fds(call, BROOD_JSON, text, (size_t)snprintf(text, sizeof text, "%d", n), came, n);
}

static void answered(void *user, const char *code, int codec, const unsigned char *data, size_t size, const int *came, int n) {
    brood_call *call = user;
    int i;
    for (i = 0; i < n; i++) close(came[i]);
    if (code) brood_fail(call, code, data ? (const char *)data : "");
    else brood_result(call, codec, data, size);
}

static void ask(brood_call *call, void *user) {
    char *text = words(call);
    (void)user;
    calls++;
    if (!brood_ask(brood_worker(call), "echo", BROOD_TEXT, text ? text : "", text ? strlen(text) : 0, 30000, NULL, answered, call))
        brood_fail(call, "overloaded", "the supervisor takes no more calls");
    free(text);
}

static void status(brood_call *call, void *user) {
    char *text = words(call);
    (void)user;
    brood_status(brood_worker(call), text ? text : "");
    free(text);
    brood_result(call, BROOD_BYTES, NULL, 0);
}

static void retire(brood_call *call, void *user) {
    (void)user;
    brood_retire(brood_worker(call), brood_argc(call) > 0 ? brood_arg(call, 0) : "asked", NULL);
    brood_result(call, BROOD_BYTES, NULL, 0);
}

static void fail(brood_call *call, void *user) {
    char *text = words(call);
    (void)user;
    calls++;
    brood_fail(call, "asked", text && *text ? text : "failed as asked");
    free(text);
}

static void pid(brood_call *call, void *user) {
    char text[32];
    (void)user;
    calls++;
    snprintf(text, sizeof text, "%ld", (long)getpid());
    brood_text(call, text);
}

static void stats(brood_call *call, void *user) {
    char text[128];
    int64_t started = *(int64_t *)user;
    calls++;
    brood_result(call, BROOD_JSON, text,
                 (size_t)snprintf(text, sizeof text, "{\"calls\":%ld,\"uptime_ms\":%lld,\"pid\":%ld}", calls, (long long)(brood_now() - started), (long)getpid()));
}

int main(void) {
    int64_t started = brood_now();
    int broken;
    brood *b = brood_new();
    if (!b) return 1;
    brood_limits(b, 0, 0, BROOD_MAX_FDS);
    brood_command(b, "echo", "WORDS…: say them again", echo, NULL);
    brood_command(b, "sleep", "DURATION: answer after, say, 200ms", sleep_, NULL);
    brood_command(b, "count", "N [DURATION]: the numbers from 1 to N as they come, one each DURATION", count, NULL);
    brood_command(b, "work", "DURATION: be at it that long, and tell how far it is", work, NULL);
    brood_command(b, "fds", "hand the descriptors that came back, in their order", fds, NULL);
    brood_command(b, "ask", "TEXT: what the supervisor's own command echo answers", ask, NULL);
    brood_command(b, "status", "TEXT: set the worker's status line", status, NULL);
    brood_command(b, "retire", "[REASON]: ask to be replaced", retire, NULL);
    brood_command(b, "fail", "[WORDS…]: say no", fail, NULL);
    brood_command(b, "pid", "the process id", pid, NULL);
    brood_command(b, "stats", "calls, uptime and process id, as JSON", stats, &started);
    broken = brood_run(b);
    brood_free(b);
    return broken;
}
