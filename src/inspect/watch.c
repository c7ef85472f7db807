#include "watch.h"
#include "thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* For a signal's handler to write a stack: the thread needs a CPU for it, and may mask signals. */
#define DUMP_SECONDS 0.5
#define DUMP_NAP 5e-3 /* in which nothing more comes once it is whole */

/* What is told: of a stall that lasts, or of its end. */
typedef struct ml_stall {
    bool ended;
    bool late; /* the GIL was not to be had: see the dump */
    double since, seconds;
    pid_t tid, holder; /* the loop's; and who may have the GIL, or 0 */
    double gc;         /* a collection runs for so long; or has, in one that ended; 0: none */
    int generation;    /* ... of this generation */
    ml_thread_sample first, last;
} ml_stall;

typedef struct ml_watch {
    PyObject_HEAD
    ml_meter *meter;
    double threshold, tick; /* seconds */
    int signum, fd;
    pid_t pid, reporter; /* of wait()'s thread; 0 until it is called */
    pthread_t thread;
    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t to_sampler, to_reporter;
    bool alive, stop, pending, dumping;
    ml_stall stall;
    /* The sampler's own. */
    double since, ended_at; /* of the turn that is looked at; 0: it goes on */
    double gc;              /* the meter's sum when it was first seen */
    bool told;
    ml_thread_sample first;
} ml_watch;

/* ---- the thread that looks --------------------------------------------------------------- */

static struct timespec
in_seconds(double seconds)
{
    double when = ml_monotonic() + seconds;

    return (struct timespec){.tv_sec = (time_t)when,
                             .tv_nsec = (long)((when - (double)(time_t)when) * 1e9)};
}

static void
nap(double seconds)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)(seconds * 1e9)}, NULL);
}

static off_t
size_of(int fd)
{
    struct stat status;

    return fstat(fd, &status) < 0 ? 0 : status.st_size;
}

static void
dump(const ml_watch *self, pid_t tid)
{
    off_t before = size_of(self->fd), last = before;
    double until = ml_monotonic() + DUMP_SECONDS;

    if (syscall(SYS_tgkill, self->pid, tid, self->signum) < 0) {
        return;
    }
    while (ml_monotonic() < until) {
        nap(DUMP_NAP);
        off_t now = size_of(self->fd);
        if (now > before && now == last) {
            break;
        }
        last = now;
    }
}

/* Python cannot say it, so this does: a write() to where errors go. */
static void
tell_stderr(const ml_watch *self, const ml_stall *stall)
{
    char text[4096];
    off_t place = 0;
    ssize_t got = snprintf(text, sizeof(text),
                           "moodloop: stall %.1f s in thread %d, and the GIL is not to be had:\n",
                           ml_monotonic() - stall->since, (int)stall->tid);

    while (got > 0 && write(STDERR_FILENO, text, (size_t)got) == got) {
        got = pread(self->fd, text, sizeof(text), place);
        place += got;
    }
}

/* One at a time, as all watches write to the same file. */
static pthread_mutex_t dumps = PTHREAD_MUTEX_INITIALIZER;

static void
look_without_gil(ml_watch *self, ml_stall *stall)
{
    pthread_mutex_lock(&dumps);
    stall->late = true;
    if (ftruncate(self->fd, 0) == 0) {
        dump(self, stall->tid);
        if (stall->last.state != 'R' && stall->last.call == SYS_futex) {
            pid_t skip[] = {stall->tid, self->reporter, (pid_t)syscall(SYS_gettid)};
            stall->holder = ml_thread_find_active(skip, Py_ARRAY_LENGTH(skip));
            if (stall->holder != 0) {
                dump(self, stall->holder);
            }
        }
        tell_stderr(self, stall);
    }
    pthread_mutex_unlock(&dumps);
}

/* Hands it over to the reporter, who may not get the GIL. With the lock. */
static void
deliver(ml_watch *self, ml_stall *stall)
{
    struct timespec until = in_seconds(ML_WATCH_GIL_SECONDS);
    int rc = 0;

    self->stall = *stall;
    self->pending = true;
    pthread_cond_signal(&self->to_reporter);
    if (stall->ended) {
        return;
    }
    while (self->pending && !self->stop && rc == 0) {
        rc = pthread_cond_timedwait(&self->to_sampler, &self->lock, &until);
    }
    if (self->pending && !self->stop) {
        self->dumping = true; /* who gets the GIL meanwhile waits: a signal can end a call */
        pthread_mutex_unlock(&self->lock);
        look_without_gil(self, stall);
        pthread_mutex_lock(&self->lock);
        self->stall = *stall;
        self->dumping = false;
        pthread_cond_signal(&self->to_reporter);
    }
}

static void
tell_begin(ml_watch *self, double now)
{
    const ml_meter *meter = self->meter;
    ml_stall stall = {.since = self->since, .tid = (pid_t)meter->tid, .first = self->first};
    double gc_since = meter->gc_since;

    ml_thread_look(stall.tid, &stall.last);
    stall.seconds = now - self->since;
    /* collections that are over count for it, too: one after the other they can take long */
    stall.gc = meter->gc - self->gc + (gc_since > 0. ? now - gc_since : 0.);
    stall.generation = (int)meter->gc_generation;
    self->told = true;
    __atomic_fetch_add(&self->meter->stalls, 1, __ATOMIC_RELAXED);
    deliver(self, &stall);
}

static void
tell_end(ml_watch *self)
{
    ml_stall stall = self->stall;

    stall.ended = true;
    stall.seconds = self->ended_at - self->since;
    stall.gc = self->meter->gc - self->gc;
    self->told = false;
    self->since = self->ended_at = 0.;
    deliver(self, &stall);
}

static void
look(ml_watch *self)
{
    const ml_meter *meter = self->meter;
    double since = meter->since, now = ml_monotonic();
    bool runs = meter->state == ML_RUNS;

    if (self->told) {
        if (self->ended_at == 0. && (!runs || since != self->since)) {
            self->ended_at = since > self->since && since < now ? since : now;
        }
        if (self->ended_at > 0. && !self->pending) {
            tell_end(self);
        }
    }
    else if (runs && since != self->since) {
        self->since = since;
        self->gc = meter->gc;
        ml_thread_look((pid_t)meter->tid, &self->first);
    }
    else if (runs && now - since >= self->threshold && !self->pending) {
        tell_begin(self, now);
    }
}

static void *
sampler(void *arg)
{
    ml_watch *self = arg;

    pthread_mutex_lock(&self->lock);
    while (!self->stop) {
        struct timespec until = in_seconds(self->tick);
        pthread_cond_timedwait(&self->to_sampler, &self->lock, &until);
        if (!self->stop) {
            look(self);
        }
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

/* ---- life -------------------------------------------------------------------------------- */

static int
start(ml_watch *self)
{
    pthread_condattr_t monotonic;
    sigset_t all, before;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->to_sampler, &monotonic);
    pthread_cond_init(&self->to_reporter, &monotonic);
    pthread_condattr_destroy(&monotonic);
    sigfillset(&all); /* the process's signals are for others */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&self->thread, NULL, sampler, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    self->alive = error == 0;
    return error;
}

PyObject *
ml_watch_new(PyTypeObject *type, ml_meter *meter, double threshold, int signum, int fd)
{
    ml_watch *self = (ml_watch *)type->tp_alloc(type, 0);

    if (self == NULL) {
        return NULL;
    }
    self->meter = meter;
    self->threshold = threshold;
    self->tick = threshold / 4 < 5e-3 ? 5e-3 : threshold / 4 > 0.25 ? 0.25 : threshold / 4;
    self->signum = signum;
    self->fd = fd;
    self->pid = getpid();
    int error = start(self);
    if (error) {
        Py_DECREF(self);
        return ml_os_error(error);
    }
    return (PyObject *)self;
}

/* stop(): the thread is gone when it returns; in a forked child it never was. */
static PyObject *
watch_stop(ml_watch *self, PyObject *Py_UNUSED(unused))
{
    if (self->alive && self->pid == getpid()) {
        self->alive = false;
        Py_BEGIN_ALLOW_THREADS;
        pthread_mutex_lock(&self->lock);
        self->stop = true;
        pthread_cond_broadcast(&self->to_sampler);
        pthread_cond_broadcast(&self->to_reporter);
        pthread_mutex_unlock(&self->lock);
        pthread_join(self->thread, NULL);
        Py_END_ALLOW_THREADS;
    }
    Py_RETURN_NONE;
}

static void
watch_dealloc(ml_watch *self)
{
    PyTypeObject *type = Py_TYPE(self);

    Py_DECREF(watch_stop(self, NULL));
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- for the reporter --------------------------------------------------------------------- */

static PyObject *
sample_dict(const ml_thread_sample *first, const ml_thread_sample *last)
{
    double took = last->time - first->time;

    return Py_BuildValue("{s:d,s:d,s:d,s:d,s:d,s:K,s:K,s:l,s:s#}", "took", took, "ran",
                         last->ran - first->ran, "waited", last->waited - first->waited, "user",
                         last->user - first->user, "system", last->system - first->system, "minor",
                         (unsigned long long)(last->minor - first->minor), "major",
                         (unsigned long long)(last->major - first->major), "call", last->call,
                         "state", &last->state, (Py_ssize_t)1);
}

/* wait(): a stall, as a dict; None after stop(). */
static PyObject *
watch_wait(ml_watch *self, PyObject *Py_UNUSED(unused))
{
    bool stopped;

    for (;;) {
        Py_BEGIN_ALLOW_THREADS;
        pthread_mutex_lock(&self->lock);
        self->reporter = (pid_t)syscall(SYS_gettid);
        while ((!self->pending || self->dumping) && !self->stop) {
            pthread_cond_wait(&self->to_reporter, &self->lock);
        }
        pthread_mutex_unlock(&self->lock);
        Py_END_ALLOW_THREADS; /* here it may have to wait for the GIL */
        pthread_mutex_lock(&self->lock);
        if (!self->dumping || self->stop) {
            break;
        }
        pthread_mutex_unlock(&self->lock);
    }
    ml_stall stall = self->stall;
    stopped = !self->pending;
    self->pending = false;
    pthread_cond_signal(&self->to_sampler);
    pthread_mutex_unlock(&self->lock);
    if (stopped) {
        Py_RETURN_NONE;
    }
    bool lasts = self->alive && self->meter->state == ML_RUNS && self->meter->since == stall.since;
    PyObject *sample = sample_dict(&stall.first, &stall.last);
    return sample ? Py_BuildValue("{s:O,s:O,s:O,s:d,s:i,s:i,s:d,s:i,s:N}", "ended",
                                  stall.ended ? Py_True : Py_False, "lasts",
                                  lasts ? Py_True : Py_False, "late",
                                  stall.late ? Py_True : Py_False, "seconds", stall.seconds, "tid",
                                  (int)stall.tid, "holder", (int)stall.holder, "gc", stall.gc,
                                  "generation", stall.generation, "sample", sample)
                  : NULL;
}

static PyMethodDef watch_methods[] = {
    {"wait", (PyCFunction)watch_wait, METH_NOARGS,
     PyDoc_STR("wait($self, /)\n--\n\nThe next stall, or end of one; None after stop().")},
    {"stop", (PyCFunction)watch_stop, METH_NOARGS,
     PyDoc_STR("stop($self, /)\n--\n\nEnds the thread that looks, and wait().")},
    {"__reduce__", ml_no_pickle, METH_NOARGS, NULL},
    {NULL},
};

static PyType_Slot watch_slots[] = {
    {Py_tp_doc, PyDoc_STR("A thread that looks at what a loop does.")},
    {Py_tp_dealloc, watch_dealloc},
    {Py_tp_methods, watch_methods},
    {0, NULL},
};

PyType_Spec ml_watch_spec = {
    .name = "moodloop._core.Watch",
    .basicsize = sizeof(ml_watch),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = watch_slots,
};
