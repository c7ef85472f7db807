/* Stat: what lstat() says about a path has changed; and Statdata, what it says.
 *
 * Of libev's ev_stat only the structure is used. It compares whole seconds, and takes a change that
 * inotify told of and that it cannot see so for known; and it watches neither links nor what the
 * path leads through. */
#include "inotify.h"

#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

typedef struct ml_stat {
    ml_watcher base;
    ev_stat ev;             /* its `timer` is for looking at intervals */
    PyObject *path;         /* as given: str or bytes */
    PyObject *bytes;        /* encoded, for the file system; ev.path points into it */
    ml_path way;            /* what inotify tells */
    bool told;              /* it tells of all changes */
    struct timespec looked; /* by the clock of the file systems, when `ev.attr` was not older */
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

/* ---- looking ----------------------------------------------------------------------------- */

/* As libev has them, in seconds. */
#define LEAST_INTERVAL 0.1074891
#define USUAL_INTERVAL 5.1074891
#define REMOTE_INTERVAL 30.1074891 /* inotify tells what this machine changes */

static void
read_stat(ml_stat *self)
{
    ev_statdata *attr = &self->ev.attr;
    int rc = self->way.follow ? stat(self->ev.path, attr) : lstat(self->ev.path, attr);

    if (rc < 0) {
        attr->st_nlink = 0;
    }
    else if (attr->st_nlink == 0) { /* some file systems have that */
        attr->st_nlink = 1;
    }
}

static bool
same_time(const struct timespec *one, const struct timespec *other)
{
    return one->tv_sec == other->tv_sec && one->tv_nsec == other->tv_nsec;
}

static bool
same_file(const ev_statdata *one, const ev_statdata *other)
{
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino &&
           (one->st_nlink == 0) == (other->st_nlink == 0);
}

/* Not st_atime: to read a file does not change it. */
static bool
same(const ev_statdata *one, const ev_statdata *other)
{
    return same_file(one, other) && one->st_nlink == other->st_nlink &&
           one->st_mode == other->st_mode && one->st_uid == other->st_uid &&
           one->st_gid == other->st_gid && one->st_rdev == other->st_rdev &&
           one->st_size == other->st_size && same_time(&one->st_mtim, &other->st_mtim) &&
           same_time(&one->st_ctim, &other->st_ctim);
}

/* The clock of the file systems goes in steps of some milliseconds: what was changed within the one
 * in which it was looked at can be changed again and still have the same times. */
static bool
is_fresh(const ev_statdata *attr, const struct timespec *looked)
{
    const struct timespec *changed = &attr->st_ctim;

    return attr->st_nlink != 0 && attr->st_nlink != UNKNOWN &&
           (changed->tv_sec > looked->tv_sec ||
            (changed->tv_sec == looked->tv_sec && changed->tv_nsec >= looked->tv_nsec));
}

/* False where other machines, or the kernel by itself, may change files without a word. */
static bool
is_local(const char *path)
{
    static const unsigned long local[] = {
        0x9123683E, /* btrfs */
        0xEF53,     /* ext2 to ext4 */
        0xF2F52010, /* f2fs */
        0x72B6,     /* jffs2 */
        0x4D44,     /* fat */
        0x794C7630, /* overlay */
        0x858458F6, /* ramfs */
        0x01021994, /* tmpfs */
        0x58465342, /* xfs */
    };
    struct statfs fs;

    for (size_t i = 0; statfs(path, &fs) == 0 && i < Py_ARRAY_LENGTH(local); i++) {
        if ((unsigned long)fs.f_type == local[i]) {
            return true;
        }
    }
    return false;
}

/* Marks the way anew and has it looked at in intervals as far as that tells not enough. */
static void
watch_way(ml_stat *self)
{
    ml_loop *loop = self->base.loop;
    ev_timer *timer = &self->ev.timer;
    double usual = USUAL_INTERVAL;

    self->told = ml_path_walk(loop, &self->way);
    if (self->told) {
        usual = is_local(self->ev.path) ? 0. : REMOTE_INTERVAL;
    }
    double repeat = usual > 0. && self->ev.interval > 0. ? self->ev.interval : usual;
    if (ev_is_active(timer) && timer->repeat == repeat) {
        return;
    }
    if (ev_is_active(timer)) {
        ev_ref(loop->ev);
    }
    timer->repeat = repeat;
    ev_timer_again(loop->ev, timer);
    if (ev_is_active(timer)) {
        ev_unref(loop->ev);
    }
}

/* Looks after `what` has happened, 0 if the time has come, and makes an event of a change. */
static void
look(ml_stat *self, int what)
{
    ev_statdata before = self->ev.attr;
    bool fresh = is_fresh(&before, &self->looked);
    bool other = (what & ML_PATH_OTHER) || !self->told;

    clock_gettime(CLOCK_REALTIME_COARSE, &self->looked);
    if (other) {
        watch_way(self);
    }
    read_stat(self);
    if (!other && !same_file(&before, &self->ev.attr)) {
        watch_way(self);
        read_stat(self);
    }
    if (!same(&before, &self->ev.attr) || (fresh && (what & ML_PATH_CONTENT))) {
        self->ev.prev = before;
        ev_feed_event(self->base.loop->ev, &self->ev, EV_STAT);
    }
}

static void
stat_timeout(struct ev_loop *Py_UNUSED(ev), ev_timer *timer, int Py_UNUSED(revents))
{
    look(ML_CONTAINER_OF(timer, ml_stat, ev.timer), 0);
}

static void
stat_happened(ml_loop *loop, ml_path *path, int what)
{
    ml_stat *self = ML_CONTAINER_OF(path, ml_stat, way);
    ev_timer *timer = &self->ev.timer;

    if (!(what & ML_PATH_LOST)) {
        look(self, what);
        return;
    }
    /* In the next run, not now: a forked child may have no use for it. */
    self->told = false;
    if (ev_is_active(timer)) {
        ev_ref(loop->ev);
        ev_timer_stop(loop->ev, timer);
    }
    ev_timer_set(timer, -1., USUAL_INTERVAL);
    ev_timer_start(loop->ev, timer);
    ev_unref(loop->ev);
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

/* libev's own part of starting and stopping a watcher, without that of an ev_stat. */
static int
stat_start(ml_watcher *base)
{
    ml_stat *self = (ml_stat *)base;

    if (check_path(self) < 0) {
        return -1;
    }
    if (self->ev.interval > 0. && self->ev.interval < LEAST_INTERVAL) {
        self->ev.interval = LEAST_INTERVAL;
    }
    ev_timer_init(&self->ev.timer, stat_timeout, 0., 0.);
    ev_set_priority(&self->ev.timer, ev_priority(&self->ev));
    self->ev.active = 1;
    ev_ref(base->loop->ev);
    self->way.name = self->ev.path;
    self->way.happened = stat_happened;
    clock_gettime(CLOCK_REALTIME_COARSE, &self->looked);
    watch_way(self);
    read_stat(self);
    return 0;
}

static void
stat_stop(ml_watcher *base)
{
    ml_stat *self = (ml_stat *)base;
    struct ev_loop *ev = base->loop->ev;

    ev_clear_pending(ev, &self->ev);
    if (!ev_is_active(&self->ev)) {
        return;
    }
    ml_path_forget(base->loop, &self->way);
    if (ev_is_active(&self->ev.timer)) {
        ev_ref(ev);
        ev_timer_stop(ev, &self->ev.timer);
    }
    ev_clear_pending(ev, &self->ev.timer);
    self->ev.active = 0;
    ev_unref(ev);
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
    .args = {"set", {"path", "interval"}, .places = 2, .needed = 2},
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
    clock_gettime(CLOCK_REALTIME_COARSE, &self->looked);
    read_stat(self);
    Py_RETURN_NONE;
}

static PyObject *
stat_get_path(ml_stat *self, void *Py_UNUSED(closure))
{
    return check_path(self) < 0 ? NULL : Py_NewRef(self->path);
}

static int
stat_set_follow(ml_stat *self, PyObject *value, void *Py_UNUSED(closure))
{
    int follow = ml_no_delete(value, "follow") < 0 ? -1 : PyObject_IsTrue(value);

    if (follow < 0 || ml_watcher_check_inactive(&self->base, "set follow") < 0) {
        return -1;
    }
    self->way.follow = follow;
    return 0;
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
    ML_MEMBER(ml_watcher_get, NULL, "interval", T_DOUBLE, ml_stat, ev.interval,
              "Seconds between looks where the system tells of no changes; 0.0: libev's choice. "
              "start() raises less than 0.1074891 to that."),
    ML_MEMBER(ml_watcher_get, stat_set_follow, "follow", T_BOOL, ml_stat, way.follow,
              "Whether a symbolic link at the end of the path stands for what it leads to; False. "
              "Settable while inactive."),
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
