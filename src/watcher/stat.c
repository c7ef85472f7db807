/* Stat: what lstat() says about a path has changed; and Statdata, what it says. */
#include "watcher.h"

#include <sys/stat.h>
#include <time.h>

typedef struct ml_stat {
    ml_watcher base;
    ev_stat ev;
    PyObject *path;  /* as given: str or bytes */
    PyObject *bytes; /* encoded, for the file system; ev.path points into it */
} ml_stat;

/* ---- Statdata ---------------------------------------------------------------------------- */

static PyStructSequence_Field statdata_fields[] = {
    {"dev", "device of the file"},
    {"rdev", "device that a special file is"},
    {"ino", "inode number"},
    {"size", "in bytes"},
    {"nlink", "number of hard links; 0: there is no such file"},
    {"mode", "type and permissions, as the module stat knows them"},
    {"uid", "owner"},
    {"gid", "group"},
    {"atime", "last access, in seconds since the epoch"},
    {"mtime", "last change of the content"},
    {"ctime", "last change of the content or of these"},
    {NULL},
};

static PyStructSequence_Desc statdata_desc = {
    .name = "moodloop.event.Statdata",
    .doc = PyDoc_STR("What lstat() says about the path of a Stat watcher."),
    .fields = statdata_fields,
    .n_in_sequence = 11,
};

int
ml_stat_add_types(PyObject *module, ml_state *state)
{
    state->Statdata = PyStructSequence_NewType(&statdata_desc);
    return state->Statdata ? PyModule_AddType(module, state->Statdata) : -1;
}

/* libev has nlink 0 for a path that is not there. What it has not looked at yet is marked by a
 * number of links that no file has. */
#define UNKNOWN ((nlink_t)-1)

static PyObject *
seconds(const struct timespec *time)
{
    return PyFloat_FromDouble((double)time->tv_sec + (double)time->tv_nsec * 1e-9);
}

static PyObject *
new_statdata(PyTypeObject *type, const ev_statdata *st)
{
    if (st->st_nlink == UNKNOWN) {
        Py_RETURN_NONE;
    }
    PyObject *data = PyStructSequence_New(type);
    if (data == NULL) {
        return NULL;
    }
    PyObject *fields[] = {
        PyLong_FromUnsignedLongLong(st->st_dev),
        PyLong_FromUnsignedLongLong(st->st_rdev),
        PyLong_FromUnsignedLongLong(st->st_ino),
        PyLong_FromLongLong(st->st_size),
        PyLong_FromUnsignedLongLong(st->st_nlink),
        PyLong_FromUnsignedLong(st->st_mode),
        PyLong_FromUnsignedLong(st->st_uid),
        PyLong_FromUnsignedLong(st->st_gid),
        seconds(&st->st_atim),
        seconds(&st->st_mtim),
        seconds(&st->st_ctim),
    };
    bool failed = false;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(fields); i++) {
        failed |= fields[i] == NULL;
        PyStructSequence_SetItem(data, (Py_ssize_t)i, fields[i]);
    }
    if (failed) {
        Py_CLEAR(data);
    }
    return data;
}

/* ---- the kind ---------------------------------------------------------------------------- */

/* Splits an argument into what `path` gives back and what the file system is asked for. */
static int
path_arg(PyObject *object, PyObject **path, PyObject **bytes)
{
    PyObject *given = PyOS_FSPath(object);

    if (given == NULL) {
        return -1;
    }
    /* exact ones: a subclass could be part of a cycle, and the path must outlive that */
    *path = PyUnicode_Check(given) ? PyUnicode_FromObject(given) : PyBytes_FromObject(given);
    Py_DECREF(given);
    if (*path == NULL || !PyUnicode_FSConverter(*path, bytes)) {
        Py_CLEAR(*path);
        return -1;
    }
    return 0;
}

static int
stat_set(ml_watcher *base, PyObject *const *args)
{
    ml_stat *self = (ml_stat *)base;
    PyObject *path, *bytes;
    double interval;

    if (path_arg(args[0], &path, &bytes) < 0) {
        return -1;
    }
    if (ml_float_arg(args[1], "interval", 0., &interval) < 0 ||
        ml_watcher_check_inactive(base, "set the arguments") < 0) {
        Py_DECREF(path);
        Py_DECREF(bytes);
        return -1;
    }
    ev_stat_set(&self->ev, PyBytes_AS_STRING(bytes), interval);
    memset(&self->ev.attr, 0, sizeof(self->ev.attr));
    self->ev.attr.st_nlink = UNKNOWN;
    self->ev.prev = self->ev.attr;
    Py_XSETREF(self->path, path);
    Py_XSETREF(self->bytes, bytes);
    return 0;
}

/* A path whose conversion ran code that uses the watcher is not there yet. */
static int
check_path(ml_stat *self)
{
    if (ml_watcher_check(&self->base) < 0) {
        return -1;
    }
    if (self->path == NULL) {
        PyErr_SetString(self->base.loop->state->Error, "Stat.__init__() has not ended");
        return -1;
    }
    return 0;
}

static int
stat_start(ml_watcher *base)
{
    if (check_path((ml_stat *)base) < 0) {
        return -1;
    }
    ev_stat_start(base->loop->ev, &((ml_stat *)base)->ev);
    return 0;
}

static void
stat_stop(ml_watcher *base)
{
    ev_stat_stop(base->loop->ev, &((ml_stat *)base)->ev);
}

static PyObject *
stat_describe(ml_watcher *base)
{
    ml_stat *self = (ml_stat *)base;
    PyObject *interval = PyFloat_FromDouble(self->ev.interval);
    PyObject *path = self->path ? self->path : Py_None;
    PyObject *text = interval ? PyUnicode_FromFormat("path=%R interval=%S", path, interval) : NULL;

    Py_XDECREF(interval);
    return text;
}

/* Neither object can be part of a cycle, and libev reads the path of an active watcher: they go
 * only with the watcher itself. */
static void
stat_free(ml_watcher *base)
{
    Py_CLEAR(((ml_stat *)base)->path);
    Py_CLEAR(((ml_stat *)base)->bytes);
}

static const ml_kind ml_stat_kind = {
    .name = "Stat",
    .args = {"path", "interval", NULL},
    .ev_offset = offsetof(ml_stat, ev),
    .set = stat_set,
    .start = stat_start,
    .stop = stat_stop,
    .describe = stat_describe,
    .free = stat_free,
};

/* ---- Python's view ----------------------------------------------------------------------- */

/* ev_stat_stat: a change that is found here is not told to the callback. */
static PyObject *
stat_stat(ml_stat *self, PyObject *Py_UNUSED(unused))
{
    if (ml_watcher_check_change(&self->base) < 0 || check_path(self) < 0) {
        return NULL;
    }
    ev_stat_stat(self->base.loop->ev, &self->ev);
    Py_RETURN_NONE;
}

static PyObject *
stat_get_path(ml_stat *self, void *Py_UNUSED(closure))
{
    return check_path(self) < 0 ? NULL : Py_NewRef(self->path);
}

static PyObject *
stat_get_interval(ml_stat *self, void *Py_UNUSED(closure))
{
    return ml_watcher_check(&self->base) < 0 ? NULL : PyFloat_FromDouble(self->ev.interval);
}

static PyObject *
stat_get_current(ml_stat *self, void *Py_UNUSED(closure))
{
    if (check_path(self) < 0) {
        return NULL;
    }
    return new_statdata(self->base.loop->state->Statdata, &self->ev.attr);
}

static PyObject *
stat_get_previous(ml_stat *self, void *Py_UNUSED(closure))
{
    if (check_path(self) < 0) {
        return NULL;
    }
    return new_statdata(self->base.loop->state->Statdata, &self->ev.prev);
}

static PyMethodDef stat_methods[] = {
    ML_SET_METHOD,
    {"stat", (PyCFunction)stat_stat, METH_NOARGS,
     PyDoc_STR("stat($self, /)\n--\n\n"
               "Looks at the path now, for `current`; it need not exist. A change that is found "
               "so is not told to the callback (ev_stat_stat).")},
    {NULL},
};

static PyGetSetDef stat_getset[] = {
    {"path", (getter)stat_get_path, NULL, PyDoc_STR("The path, as str or bytes."), NULL},
    {"interval", (getter)stat_get_interval, NULL,
     PyDoc_STR("Seconds between looks where the system tells of no changes; 0.0: libev's choice. "
               "start() raises less than 0.1074891 to that."),
     NULL},
    {"current", (getter)stat_get_current, NULL,
     PyDoc_STR("The newest Statdata; None before the first look."), NULL},
    {"attr", (getter)stat_get_current, NULL, PyDoc_STR("Another name of current."), NULL},
    {"previous", (getter)stat_get_previous, NULL,
     PyDoc_STR("The Statdata before the newest change; None before the first."), NULL},
    {"prev", (getter)stat_get_previous, NULL, PyDoc_STR("Another name of previous."), NULL},
    {NULL},
};

ML_NEW(stat)

static PyType_Slot stat_slots[] = {
    ML_WATCHER_SLOTS(stat),
    {Py_tp_doc, PyDoc_STR("Stat(loop, path, interval, callback, data=None, priority=0)\n--\n\n"
                          "Calls back when what lstat() says about the path changes. It need not "
                          "exist. The system tells of changes, where it can (inotify); else the "
                          "path is looked at every `interval` seconds.")},
    {Py_tp_methods, stat_methods},
    {Py_tp_getset, stat_getset},
    {0, NULL},
};

ML_WATCHER_SPEC(Stat, stat);
