/* What net/ gives the asyncio loop's type: its methods. */
#ifndef ML_METHODS_H
#define ML_METHODS_H

#include "../aio/aio.h"

/* _is_plain(sock); _can_try(sock): whether _try_sock_*() are for it. */
PyObject *ml_aioloop_is_plain(ml_aioloop *self, PyObject *sock);
PyObject *ml_aioloop_can_try(ml_aioloop *self, PyObject *sock);

/* sockcalls.c. Each answers at once if the socket does, else returns a SockOp to wait for; or
 * NotImplemented, for a socket that stock asyncio's function is for. */
PyObject *ml_sockop_recv(ml_aioloop *, PyObject *const *, Py_ssize_t);
PyObject *ml_sockop_recv_into(ml_aioloop *, PyObject *const *, Py_ssize_t);
PyObject *ml_sockop_recvfrom(ml_aioloop *, PyObject *const *, Py_ssize_t);
PyObject *ml_sockop_recvfrom_into(ml_aioloop *, PyObject *const *, Py_ssize_t);
PyObject *ml_sockop_sendall(ml_aioloop *, PyObject *const *, Py_ssize_t);
PyObject *ml_sockop_sendto(ml_aioloop *, PyObject *const *, Py_ssize_t);
PyObject *ml_sockop_accept(ml_aioloop *, PyObject *const *, Py_ssize_t);
PyObject *ml_sockop_connect(ml_aioloop *, PyObject *const *, Py_ssize_t);

/* _make_socket_transport(sock, protocol, waiter=None, *, extra=None, server=None, context=None),
 * the hook of BaseEventLoop.create_connection() (net/transport.c). */
PyObject *ml_make_socket_transport(ml_aioloop *self, PyObject *args, PyObject *kwargs);
/* _connect(host, port): a SockOp, None if `host` is no address. _connected(op, protocol, waiter,
 * context): the transport of the connection it made (net/connect.c). */
PyObject *ml_connect_literal(ml_aioloop *, PyObject *const *, Py_ssize_t);
PyObject *ml_connect_transport(ml_aioloop *, PyObject *const *, Py_ssize_t);
/* _make_datagram_transport(sock, protocol, address=None, waiter=None, extra=None). */
PyObject *ml_make_datagram_transport(ml_aioloop *self, PyObject *args, PyObject *kwargs);
/* _make_read_pipe_transport(pipe, protocol, waiter=None, extra=None), and for writing. */
PyObject *ml_make_read_pipe_transport(ml_aioloop *self, PyObject *args, PyObject *kwargs);
PyObject *ml_make_write_pipe_transport(ml_aioloop *self, PyObject *args, PyObject *kwargs);

#endif
