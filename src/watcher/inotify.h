/* What the kernel tells of paths. */
#ifndef ML_INOTIFY_H
#define ML_INOTIFY_H

#include "watcher.h"

typedef struct ml_path ml_path;
typedef struct ml_mark ml_mark;

/* What may have happened to it, together. */
#define ML_PATH_CONTENT 1 /* the file there, or the directory, has other content */
#define ML_PATH_OTHER 2   /* it may lead elsewhere: ml_path_walk() is to be called again */
#define ML_PATH_LOST 4    /* inotify was lost with its descriptor, and nothing is told any more */

struct ml_path {
    const char *name; /* the owner's, for as long as it has marks */
    bool follow;      /* a symbolic link at its end counts as what it leads to */
    /* Called with what has happened. It may change the marks of this path only, and no Python code
     * may run in it. */
    void (*happened)(ml_loop *loop, ml_path *path, int what);
    ml_mark *marks;
    int what; /* collected, while `queued` */
    ml_path *queued;
};

/* Goes along the path and marks all that it leads through and to; what was marked before and is not
 * on it any more is let go. True if it leads to something, of which all changes will be told; a
 * change between this and a look at the file that follows it is told too. */
bool ml_path_walk(ml_loop *loop, ml_path *path);
void ml_path_forget(ml_loop *loop, ml_path *path);
/* Gives the descriptor back: ML_PATH_LOST to all paths. In a forked child, which has the
 * descriptor in common with its parent, and when the loop is closed. */
void ml_inotify_end(ml_loop *loop);

#endif
