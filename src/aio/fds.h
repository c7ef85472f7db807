/* add_reader, add_writer, and who owns a descriptor (fds.c). */
#ifndef ML_FDS_H
#define ML_FDS_H

#include "../watcher/watcher.h"

typedef struct ml_aioloop ml_aioloop;

typedef struct ml_slot ml_slot;

typedef struct ml_fds {
    ml_slot *slots; /* by descriptor */
    int cap;
    PyObject *stock; /* the standard library's transports by descriptor, weakly; NULL: none yet */
} ml_fds;

PyObject *ml_aioloop_add_reader(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_aioloop_add_writer(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_aioloop_add_reader_unchecked(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_aioloop_add_writer_unchecked(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_aioloop_remove_reader(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_aioloop_remove_writer(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_aioloop_remove_reader_unchecked(ml_aioloop *, PyObject *);
PyObject *ml_aioloop_remove_writer_unchecked(ml_aioloop *, PyObject *);
PyObject *ml_aioloop_rewatch(ml_aioloop *, PyObject *);
/* The transport that owns a socket's descriptor: borrowed, for the "is used by transport" check. */
int ml_aioloop_set_transport(ml_aioloop *self, int fd, PyObject *transport);
void ml_aioloop_unset_transport(ml_aioloop *self, int fd, PyObject *transport);
/* The one a descriptor is known by, borrowed, or NULL. */
PyObject *ml_aioloop_transport_of(ml_aioloop *self, int fd);
/* While `shared`, the descriptor of that transport may be used all the same. */
void ml_aioloop_share_transport(ml_aioloop *self, int fd, PyObject *transport, bool shared);
/* Cancels a reader, a writer, that was left on a number: it is another file's now. */
int ml_aioloop_drop_reader(ml_aioloop *self, int fd);
int ml_aioloop_drop_writer(ml_aioloop *self, int fd);
/* -1 with RuntimeError 'File descriptor N is used by transport ...'. */
int ml_aioloop_check_fd(ml_aioloop *self, PyObject *fileobj, int fd);
PyObject *ml_aioloop_ensure_fd_no_transport(ml_aioloop *self, PyObject *fileobj);
int ml_aioloop_slots_traverse(ml_aioloop *self, visitproc visit, void *arg);
void ml_aioloop_slots_clear(ml_aioloop *self);

#endif
