#include "thread.h"

#include "../sys/clock.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A file of the thread's in /proc, as text; false if there is none. */
static bool
read_file(pid_t tid, const char *name, char *text, size_t size)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)tid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);
    if (fd >= 0) {
        close(fd);
    }
    text[got > 0 ? got : 0] = 0;
    return got > 0;
}

void
ml_thread_look(pid_t tid, ml_thread_sample *sample)
{
    char text[1024];
    unsigned long long ran, waited, minor, major, user, system;

    *sample = (ml_thread_sample){.time = ml_monotonic(), .call = -1, .state = '?'};
    if (read_file(tid, "schedstat", text, sizeof(text)) &&
        sscanf(text, "%llu %llu", &ran, &waited) == 2) {
        sample->ran = (double)ran * 1e-9;
        sample->waited = (double)waited * 1e-9;
    }
    /* The name, in brackets, may have anything in it. */
    char *rest = read_file(tid, "stat", text, sizeof(text)) ? strrchr(text, ')') : NULL;
    if (rest != NULL && sscanf(rest + 1, " %c %*d %*d %*d %*d %*d %*u %llu %*u %llu %*u %llu %llu",
                               &sample->state, &minor, &major, &user, &system) == 5) {
        double tick = (double)sysconf(_SC_CLK_TCK);
        sample->minor = minor;
        sample->major = major;
        sample->user = (double)user / tick;
        sample->system = (double)system / tick;
    }
    if (read_file(tid, "syscall", text, sizeof(text)) && text[0] >= '0' && text[0] <= '9') {
        sample->call = strtol(text, NULL, 10);
    }
}

static bool
is_among(pid_t tid, const pid_t *some, int count)
{
    for (int i = 0; i < count; i++) {
        if (some[i] == tid) {
            return true;
        }
    }
    return false;
}

pid_t
ml_thread_find_active(const pid_t *skip, int count)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    pid_t found = 0;

    while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
        ml_thread_sample sample;
        pid_t tid = (pid_t)atoi(entry->d_name);
        if (tid <= 0 || is_among(tid, skip, count)) {
            continue;
        }
        ml_thread_look(tid, &sample);
        if (sample.state == 'R') {
            found = tid;
            break;
        }
        if (found == 0 && sample.call >= 0 && sample.call != SYS_futex) {
            found = tid;
        }
    }
    if (tasks != NULL) {
        closedir(tasks);
    }
    return found;
}
