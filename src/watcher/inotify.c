/* inotify: which paths may have changed. One descriptor for each loop, made for its first path.
 *
 * Everything that a path leads through is marked: each directory and each symbolic link, for being
 * moved away, replaced or gone, of which the kernel tells without a word about what else goes on in
 * there; and the file at its end. Where a name is missing its directory is marked for new names. */
#include "inotify.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONTENT (IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)
#define ELSEWHERE (IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)
#define ARRIVES (IN_CREATE | IN_MOVED_TO)
#define ENDED (IN_IGNORED | IN_UNMOUNT) /* told of each mark, asked for or not */
#define MAX_LINKS 40                    /* as the kernel has it */

typedef struct ml_watched ml_watched;

/* One path's interest in a file. */
struct ml_mark {
    ml_watched *watched;
    uint32_t mask; /* of what is asked of the kernel, this path's part */
    uint32_t hash; /* of the missing name that is waited for in a directory; else 0 */
    ml_path *path;
    ml_mark *of_path;    /* the next one of the same path */
    ml_mark *next, **by; /* of the same file */
};

/* A file that the kernel watches, for some marks. */
struct ml_watched {
    int wd;
    ml_mark *marks;
    ml_watched *next; /* with a like number */
};

#define BUCKETS 1024
struct ml_inotify {
    ml_fdw fdw; /* started for as long as this is */
    ml_watched *by_wd[BUCKETS];
};

/* Where it stands, or would. */
static ml_watched **
find(ml_loop *loop, int wd)
{
    ml_watched **place = &loop->inotify->by_wd[(unsigned int)wd % BUCKETS];

    while (*place != NULL && (*place)->wd != wd) {
        place = &(*place)->next;
    }
    return place;
}

static uint32_t
name_hash(const char *name)
{
    uint32_t hash = 2166136261u;

    while (*name != 0) {
        hash = (hash ^ (unsigned char)*name++) * 16777619u;
    }
    return hash ? hash : 1;
}

/* ---- marks ------------------------------------------------------------------------------- */

/* Has the kernel watch the file at `name`, or more of it: NULL with an errno if it does not. */
static ml_watched *
ask_kernel(ml_loop *loop, const char *name, uint32_t mask)
{
    int fd = loop->inotify->fdw.ev.fd;
    int wd = inotify_add_watch(fd, name, mask | IN_DONT_FOLLOW | IN_MASK_ADD);
    ml_watched **place = wd < 0 ? NULL : find(loop, wd);

    if (place != NULL && *place == NULL) {
        *place = PyMem_RawCalloc(1, sizeof(**place));
        if (*place == NULL) {
            inotify_rm_watch(fd, wd);
            return NULL;
        }
        (*place)->wd = wd;
    }
    return place ? *place : NULL;
}

/* False if the kernel will not tell of the file at `name`. */
static bool
mark(ml_loop *loop, ml_path *path, const char *name, uint32_t mask, uint32_t hash)
{
    ml_mark *mark = PyMem_RawMalloc(sizeof(*mark));
    ml_watched *watched = mark ? ask_kernel(loop, name, mask) : NULL;

    if (watched == NULL) {
        PyMem_RawFree(mark);
        return false;
    }
    *mark = (ml_mark){.watched = watched, .mask = mask | ENDED, .hash = hash, .path = path};
    mark->of_path = path->marks;
    path->marks = mark;
    ML_LIST_ADD(&watched->marks, mark);
    return true;
}

/* Lets go of a list of one path's marks, and of the kernel's watches that nobody else needs. */
static void
unmark(ml_loop *loop, ml_mark *marks)
{
    while (marks != NULL) {
        ml_mark *gone = marks;
        ml_watched *watched = gone->watched;
        marks = gone->of_path;
        ML_LIST_REMOVE(gone);
        PyMem_RawFree(gone);
        if (watched->marks == NULL) {
            assert(*find(loop, watched->wd) == watched);
            *find(loop, watched->wd) = watched->next;
            /* EINVAL: the kernel has dropped it, with its file */
            inotify_rm_watch(loop->inotify->fdw.ev.fd, watched->wd);
            PyMem_RawFree(watched);
        }
    }
}

void
ml_path_forget(ml_loop *loop, ml_path *path)
{
    ml_mark *marks = path->marks;

    path->marks = NULL;
    if (marks != NULL) {
        unmark(loop, marks);
    }
}

/* ---- events ------------------------------------------------------------------------------ */

static void
queue(ml_path **queue, ml_path *path, int what)
{
    if (path->what == 0) {
        path->queued = *queue;
        *queue = path;
    }
    path->what |= what;
}

static void
take_event(const ml_watched *watched, const struct inotify_event *event, ml_path **queued)
{
    for (ml_mark *mark = watched->marks; mark != NULL; mark = mark->next) {
        uint32_t told = event->mask & mark->mask;
        if (mark->hash == 0 && told != 0) {
            queue(queued, mark->path,
                  (told & (CONTENT | IN_DELETE_SELF) ? ML_PATH_CONTENT : 0) |
                      (told & (ELSEWHERE | ENDED) ? ML_PATH_OTHER : 0));
        }
        else if ((told & ENDED) ||
                 (told != 0 && event->len > 0 && name_hash(event->name) == mark->hash)) {
            queue(queued, mark->path, ML_PATH_OTHER);
        }
    }
}

/* The kernel had no room for all events: anything may have happened. */
static void
take_overflow(ml_loop *loop, ml_path **queued)
{
    for (int i = 0; i < BUCKETS; i++) {
        for (ml_watched *one = loop->inotify->by_wd[i]; one != NULL; one = one->next) {
            for (ml_mark *mark = one->marks; mark != NULL; mark = mark->next) {
                queue(queued, mark->path, ML_PATH_CONTENT | ML_PATH_OTHER);
            }
        }
    }
}

static void
tell(ml_loop *loop, ml_path *queued)
{
    while (queued != NULL) {
        ml_path *path = queued;
        int what = path->what;
        queued = path->queued;
        path->what = 0;
        path->queued = NULL;
        path->happened(loop, path, what);
    }
}

/* Frees everything and tells the paths. */
static void
lose(ml_loop *loop)
{
    ml_inotify *inotify = loop->inotify;
    ml_path *queued = NULL;

    loop->inotify = NULL;
    for (int i = 0; i < BUCKETS; i++) {
        while (inotify->by_wd[i] != NULL) {
            ml_watched *watched = inotify->by_wd[i];
            inotify->by_wd[i] = watched->next;
            while (watched->marks != NULL) {
                ml_mark *gone = watched->marks;
                watched->marks = gone->next;
                gone->path->marks = NULL;
                queue(&queued, gone->path, ML_PATH_LOST);
                PyMem_RawFree(gone);
            }
            PyMem_RawFree(watched);
        }
    }
    PyMem_RawFree(inotify);
    tell(loop, queued);
}

void
ml_inotify_end(ml_loop *loop)
{
    if (loop->inotify == NULL) {
        return;
    }
    int fd = loop->inotify->fdw.ev.fd;
    ev_ref(loop->ev);                       /* it was unref'd while active */
    ml_fdw_stop(loop, &loop->inotify->fdw); /* if it is: the kernel may not have taken it */
    if (!ml_fd_is_lost(fd)) {
        close(fd);
    }
    lose(loop);
}

/* One read for each readiness: what is left makes the descriptor ready again. */
static void
inotify_event(struct ev_loop *ev, ev_io *io, int revents)
{
    ml_loop *loop = ev_userdata(ev);
    _Alignas(struct inotify_event) char events[16384];
    ml_path *queued = NULL;

    /* Somebody may have closed it, and its number may be another file by now. */
    if ((revents & EV_ERROR) || ml_fd_is_lost(io->fd)) {
        ml_inotify_end(loop);
        return;
    }
    ssize_t got = read(io->fd, events, sizeof(events));
    for (ssize_t at = 0; at < got;) {
        const struct inotify_event *event = (struct inotify_event *)(events + at);
        ml_watched *watched = event->wd < 0 ? NULL : *find(loop, event->wd);
        if (watched != NULL) { /* else nobody needs it any more */
            take_event(watched, event, &queued);
        }
        else if (event->mask & IN_Q_OVERFLOW) {
            take_overflow(loop, &queued);
        }
        at += (ssize_t)(sizeof(*event) + event->len);
    }
    tell(loop, queued);
}

/* Makes the descriptor for the first path. False if there can be none: then nothing is told. */
static bool
begin(ml_loop *loop)
{
    if (loop->inotify != NULL || loop->no_inotify) {
        return loop->inotify != NULL;
    }
    ml_inotify *inotify = PyMem_RawCalloc(1, sizeof(*inotify));
    int fd = inotify ? inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -1;
    if (fd >= 0) {
        ml_fdw_init(&inotify->fdw, inotify_event, fd, EV_READ);
        if (ml_reserve_check() == 0 && ml_fdw_start(loop, &inotify->fdw) == 0) {
            ev_unref(loop->ev);
            loop->inotify = inotify;
            return true;
        }
        PyErr_Clear(); /* as without a descriptor */
        close(fd);
    }
    PyMem_RawFree(inotify);
    return false;
}

/* ---- the walk ---------------------------------------------------------------------------- */

/* Where it is: `at` is the directory that was reached, without symbolic links in its name (empty:
 * the one that the process is in), and `rest` what is left of the path. */
struct walk {
    ml_loop *loop;
    ml_path *path;
    char at[PATH_MAX], rest[PATH_MAX];
    int links;
    bool complete; /* all could be marked so far */
};

enum step { GOES_ON, THERE, MISSING };

static bool
join(char *joined, const char *directory, const char *name)
{
    const char *slash = directory[0] == 0 || strcmp(directory, "/") == 0 ? "" : "/";

    return snprintf(joined, PATH_MAX, "%s%s%s", directory, slash, name) < PATH_MAX;
}

/* Goes on with what the link says, and then with the rest. */
static enum step
enter_link(struct walk *walk, const char *link)
{
    char rest[PATH_MAX];
    ssize_t len = readlink(link, rest, sizeof(rest) - 1);

    if (len <= 0 || ++walk->links > MAX_LINKS ||
        (size_t)len + strlen(walk->rest) + 2 > sizeof(rest)) {
        return MISSING;
    }
    rest[len] = 0;
    if (rest[0] == '/') {
        strcpy(walk->at, "/");
    }
    if (walk->rest[0] != 0) {
        rest[len++] = '/';
    }
    strcpy(rest + len, walk->rest);
    strcpy(walk->rest, rest);
    return GOES_ON;
}

/* Each file is marked before it is looked at, so that it cannot change in between unheard. */
static enum step
enter(struct walk *walk, const char *name)
{
    char here[PATH_MAX];
    struct stat st;
    bool last = walk->rest[strspn(walk->rest, "/")] == 0;
    bool follow = !last || walk->path->follow || walk->rest[0] == '/';
    uint32_t mask = last ? ELSEWHERE | CONTENT : ELSEWHERE;

    if (!join(here, walk->at, name)) {
        return MISSING;
    }
    bool marked = mark(walk->loop, walk->path, here, mask, 0);
    if (!marked) {
        const char *directory = walk->at[0] ? walk->at : ".";
        mark(walk->loop, walk->path, directory, ARRIVES | IN_ATTRIB, name_hash(name));
        marked = mark(walk->loop, walk->path, here, mask, 0); /* it may have come meanwhile */
    }
    walk->complete = walk->complete && marked;
    if (lstat(here, &st) < 0) {
        return MISSING;
    }
    if (S_ISLNK(st.st_mode) && follow) {
        return enter_link(walk, here);
    }
    strcpy(walk->at, here);
    return last ? THERE : GOES_ON;
}

static bool
walk_along(struct walk *walk)
{
    enum step step = GOES_ON;

    if (walk->rest[0] == '/') {
        strcpy(walk->at, "/");
        if (walk->rest[strspn(walk->rest, "/")] == 0) {
            return mark(walk->loop, walk->path, "/", ELSEWHERE | CONTENT, 0);
        }
    }
    while (step == GOES_ON) {
        char name[NAME_MAX + 1], *start = walk->rest + strspn(walk->rest, "/");
        size_t len = strcspn(start, "/");
        if (len == 0 || len > NAME_MAX) {
            return false;
        }
        memcpy(name, start, len);
        name[len] = 0;
        memmove(walk->rest, start + len, strlen(start + len) + 1);
        step = enter(walk, name);
    }
    return step == THERE && walk->complete;
}

bool
ml_path_walk(ml_loop *loop, ml_path *path)
{
    struct walk walk = {.loop = loop, .path = path, .complete = true};

    if (!begin(loop) || strlen(path->name) >= sizeof(walk.rest)) {
        return false;
    }
    ml_mark *before = path->marks;
    path->marks = NULL;
    strcpy(walk.rest, path->name);
    bool there = walk_along(&walk);
    unmark(loop, before); /* after the new ones: the kernel's watches of most files stay */
    return there;
}
