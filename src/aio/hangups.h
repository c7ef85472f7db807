/* The ends of connections that nobody reads from: hangups.c. */
#ifndef ML_HANGUPS_H
#define ML_HANGUPS_H

#include "ownfd.h"

/* Called in the poll, where no Python may run, with the transport that has the descriptor. */
typedef void (*ml_hangup_cb)(PyObject *transport);

typedef struct ml_hangups {
    ml_ownfd own; /* an epoll descriptor */
    ml_hangup_cb told;
} ml_hangups;

void ml_hangups_init(ml_hangups *self);
void ml_hangups_close(ml_aioloop *loop);
/* `told` hears when the socket has an error, or has ended both ways, or if so now; once for each
 * change. One that the kernel does not take stays silent. */
void ml_hangups_watch(ml_aioloop *loop, int fd, ml_hangup_cb told);
/* Before it is closed: copies of the descriptor may live on. */
void ml_hangups_forget(ml_aioloop *loop, int fd);

#endif
