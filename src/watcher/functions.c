#include "functions.h"
#include "../inspect/meter.h"

#include <signal.h>

static PyObject *
event_time(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyFloat_FromDouble(ev_time());
}

static PyObject *
event_sleep(PyObject *Py_UNUSED(module), PyObject *arg)
{
    double interval = PyFloat_AsDouble(arg);

    if (interval == -1. && PyErr_Occurred()) {
        return NULL;
    }
    if (interval > 86400. &&
        PyErr_WarnEx(PyExc_RuntimeWarning, "sleeping for more than a day", 1) < 0) {
        return NULL;
    }
    if (interval > 0.) {
        Py_BEGIN_ALLOW_THREADS;
        ev_sleep(interval < 1e9 ? interval : 1e9); /* libev's time_t has no infinity */
        Py_END_ALLOW_THREADS;
    }
    return ml_none_or_error(PyErr_CheckSignals());
}

static PyObject *
abi_version(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return Py_BuildValue("(ii)", ev_version_major(), ev_version_minor());
}

static PyObject *
header_version(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return Py_BuildValue("(ii)", EV_VERSION_MAJOR, EV_VERSION_MINOR);
}

static PyObject *
supported_backends(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyLong_FromUnsignedLong(ml_backends_usable(ev_supported_backends()));
}

static PyObject *
recommended_backends(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyLong_FromUnsignedLong(ml_backends_usable(ev_recommended_backends()));
}

static PyObject *
embeddable_backends(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyLong_FromUnsignedLong(ml_backends_usable(ev_embeddable_backends()));
}

static PyObject *
feed_signal(PyObject *Py_UNUSED(module), PyObject *arg)
{
    long signum = PyLong_AsLong(arg);

    if (signum == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (signum <= 0 || signum >= NSIG) { /* libev does not check, and writes there */
        return PyErr_Format(PyExc_ValueError, "signal number %ld out of range [1; %d]", signum,
                            NSIG - 1);
    }
    ml_loop *loop = ml_signal_owner((int)signum);
    if (loop != NULL) { /* without a watcher libev has nowhere to go */
        ev_feed_signal((int)signum);
        if (loop->embeds != NULL) {
            ml_embed_sent(loop);
        }
    }
    Py_RETURN_NONE;
}

/* In a forked child: the epoll set is still shared with the parent, so each loop gets its own. */
static PyObject *
after_fork(PyObject *module, PyObject *Py_UNUSED(unused))
{
    for (ml_loop *loop = ml_state_of_module(module)->loops; loop != NULL; loop = loop->next) {
        ml_loop_after_fork(loop);
    }
    ml_signal_after_fork();
    ml_page_after_fork();
    Py_RETURN_NONE;
}

/* Those that are open, as a list: what is called for each may close others. */
static PyObject *
open_loops(PyObject *module)
{
    PyObject *loops = PyList_New(0);

    for (ml_loop *loop = ml_state_of_module(module)->loops; loops != NULL && loop != NULL;
         loop = loop->next) {
        if (PyList_Append(loops, (PyObject *)loop) < 0) {
            Py_CLEAR(loops);
        }
    }
    return loops;
}

static PyObject *
before_fork(PyObject *module, PyObject *Py_UNUSED(unused))
{
    PyObject *loops = open_loops(module);
    int rc = loops ? 0 : -1;

    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(loops); i++) {
        ml_loop *loop = (ml_loop *)PyList_GET_ITEM(loops, i);
        rc = loop->host_ops ? loop->host_ops->before_fork(loop->host) : 0;
    }
    Py_XDECREF(loops);
    return ml_none_or_error(rc);
}

/* While the modules are whole: the loops that are still open tell their Cleanup watchers. They are
 * not closed, as other functions at exit may use them. */
static PyObject *
at_exit(PyObject *module, PyObject *Py_UNUSED(unused))
{
    PyObject *loops = open_loops(module);

    for (Py_ssize_t i = 0; loops != NULL && i < PyList_GET_SIZE(loops); i++) {
        ml_loop_finalize((ml_loop *)PyList_GET_ITEM(loops, i));
    }
    Py_XDECREF(loops);
    return ml_none_or_error(loops ? 0 : -1);
}

#define DEFAULT_LOOP                                                                        \
    ML_FUNCTION(ml_default_loop), METH_VARARGS | METH_KEYWORDS,                             \
        PyDoc_STR("The process-wide default loop; made at the first call, which takes the " \
                  "arguments of Loop.")

PyMethodDef ml_functions[] = {
    {"default_loop", DEFAULT_LOOP},
    {"loop", DEFAULT_LOOP},
    {"time", event_time, METH_NOARGS, PyDoc_STR("time()\n--\n\nSeconds since the epoch.")},
    {"sleep", event_sleep, METH_O, PyDoc_STR("sleep(interval, /)\n--\n\nSleeps, in seconds.")},
    {"abi_version", abi_version, METH_NOARGS,
     PyDoc_STR("abi_version()\n--\n\n(major, minor) of the libev that runs.")},
    {"header_version", header_version, METH_NOARGS,
     PyDoc_STR("header_version()\n--\n\n(major, minor) of the libev compiled against.")},
    {"supported_backends", supported_backends, METH_NOARGS,
     PyDoc_STR("supported_backends()\n--\n\nEVBACKEND_* bits.")},
    {"recommended_backends", recommended_backends, METH_NOARGS,
     PyDoc_STR("recommended_backends()\n--\n\nEVBACKEND_* bits.")},
    {"embeddable_backends", embeddable_backends, METH_NOARGS,
     PyDoc_STR("embeddable_backends()\n--\n\nEVBACKEND_* bits.")},
    {"feed_signal", feed_signal, METH_O,
     PyDoc_STR("feed_signal(signum, /)\n--\n\nAs if the process had got the signal.")},
    {"_default_loop_as", ML_FUNCTION(ml_default_loop_as), METH_VARARGS | METH_KEYWORDS, NULL},
    {"_on_signal", ml_signal_handler, METH_VARARGS, NULL},
    {"_before_fork", before_fork, METH_NOARGS, NULL},
    {"_after_fork", after_fork, METH_NOARGS, NULL},
    {"_at_exit", at_exit, METH_NOARGS, NULL},
    {"_page_layout", ml_page_layout, METH_NOARGS, NULL},
    {"_page_fd", ml_page_fd, METH_NOARGS, NULL},
    {"_gc_event", ML_FUNCTION(ml_gc_event), METH_FASTCALL, NULL},
    {NULL},
};

#define CONSTANTS(X)      \
    X(EVFLAG_AUTO)        \
    X(EVFLAG_NOENV)       \
    X(EVFLAG_FORKCHECK)   \
    X(EVFLAG_SIGNALFD)    \
    X(EVFLAG_NOSIGMASK)   \
    X(EVFLAG_NOINOTIFY)   \
    X(EVFLAG_NOTIMERFD)   \
    X(EVBACKEND_SELECT)   \
    X(EVBACKEND_POLL)     \
    X(EVBACKEND_EPOLL)    \
    X(EVBACKEND_KQUEUE)   \
    X(EVBACKEND_DEVPOLL)  \
    X(EVBACKEND_PORT)     \
    X(EVBACKEND_LINUXAIO) \
    X(EVBACKEND_IOURING)  \
    X(EVBACKEND_ALL)      \
    X(EVBACKEND_MASK)     \
    X(EVRUN_NOWAIT)       \
    X(EVRUN_ONCE)         \
    X(EVBREAK_CANCEL)     \
    X(EVBREAK_ONE)        \
    X(EVBREAK_ALL)        \
    X(EV_UNDEF)           \
    X(EV_NONE)            \
    X(EV_READ)            \
    X(EV_WRITE)           \
    X(EV_IO)              \
    X(EV_TIMER)           \
    X(EV_PERIODIC)        \
    X(EV_SIGNAL)          \
    X(EV_CHILD)           \
    X(EV_STAT)            \
    X(EV_IDLE)            \
    X(EV_PREPARE)         \
    X(EV_CHECK)           \
    X(EV_EMBED)           \
    X(EV_FORK)            \
    X(EV_CLEANUP)         \
    X(EV_ASYNC)           \
    X(EV_CUSTOM)          \
    X(EV_ERROR)           \
    X(EV_MINPRI)          \
    X(EV_MAXPRI)

int
ml_add_constants(PyObject *module)
{
#define X(name)                                                   \
    if (PyModule_AddIntConstant(module, #name, (long)name) < 0) { \
        return -1;                                                \
    }
    CONSTANTS(X)
#undef X
    return 0;
}
