/* What Python sees of transports: rows for the method tables of the kinds. */
#ifndef ML_TRANSPORT_API_H
#define ML_TRANSPORT_API_H

#include "transport.h"

#define ML_NOARGS(name, function, doc)                           \
    {                                                            \
        name, (PyCFunction)function, METH_NOARGS, PyDoc_STR(doc) \
    }
#define ML_KEYWORDS(name, function, doc)                                          \
    {                                                                             \
        name, ML_FUNCTION(function), METH_VARARGS | METH_KEYWORDS, PyDoc_STR(doc) \
    }
#define ML_ARGS(name, function, doc)                                  \
    {                                                                 \
        name, ML_FUNCTION(function), ML_FAST_KEYWORDS, PyDoc_STR(doc) \
    }

/* All kinds; close() differs. */
#define ML_TRANSPORT_METHODS                                                                   \
    ML_NOARGS("is_closing", ml_transport_py_is_closing, "True from close() or abort() on."),   \
        ML_NOARGS("get_protocol", ml_transport_py_get_protocol,                                \
                  "The protocol; None once it is lost."),                                      \
        ML_ARGS("set_protocol", ml_transport_py_set_protocol,                                  \
                "set_protocol($self, /, protocol)\n--\n\nReplaces the protocol."),             \
        ML_KEYWORDS("get_extra_info", ml_transport_get_extra_info,                             \
                    "get_extra_info($self, /, name, default=None)\n--\n\n"                     \
                    "'socket', 'sockname' and 'peername', or 'pipe', and what was given when " \
                    "it was made."),                                                           \
    {                                                                                          \
        "__reduce__", ml_no_pickle, METH_NOARGS, NULL                                          \
    }

/* Kinds that can read. */
#define ML_READ_METHODS                                                                            \
    ML_NOARGS("pause_reading", ml_transport_py_pause_reading, "Stops handing over what arrives."), \
        ML_NOARGS("resume_reading", ml_transport_py_resume_reading, "Ends a pause_reading()."),    \
        ML_NOARGS("is_reading", ml_transport_py_is_reading, "True unless paused or closing.")

/* Kinds that write bytes in a row. */
#define ML_WRITE_METHODS                                                          \
    ML_ARGS("write", ml_transport_py_write,                                       \
            "write($self, /, data)\n--\n\nSends bytes-like data; never blocks."), \
        ML_ARGS("writelines", ml_transport_py_writelines,                         \
                "writelines($self, /, list_of_data)\n--\n\n"                      \
                "Sends an iterable of data in one go.")

/* Kinds with a queue. */
#define ML_FLOW_METHODS                                                                 \
    ML_NOARGS("get_write_buffer_size", ml_transport_py_get_write_buffer_size,           \
              "Bytes not sent yet."),                                                   \
        ML_NOARGS("get_write_buffer_limits", ml_transport_py_get_write_buffer_limits,   \
                  "(low, high) in bytes."),                                             \
        ML_KEYWORDS("set_write_buffer_limits", ml_transport_py_set_write_buffer_limits, \
                    "set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"    \
                    "Sets the water marks for pause_writing() and resume_writing(), in bytes.")

PyObject *ml_transport_py_write(ml_transport *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames);
PyObject *ml_transport_py_writelines(ml_transport *self, PyObject *const *args, Py_ssize_t nargs,
                                     PyObject *kwnames);
PyObject *ml_transport_py_can_write_eof(ml_transport *self, PyObject *unused);
PyObject *ml_transport_py_get_write_buffer_size(ml_transport *self, PyObject *unused);
PyObject *ml_transport_py_get_write_buffer_limits(ml_transport *self, PyObject *unused);
PyObject *ml_transport_py_set_write_buffer_limits(ml_transport *self, PyObject *args,
                                                  PyObject *kwargs);
PyObject *ml_transport_py_pause_reading(ml_transport *self, PyObject *unused);
PyObject *ml_transport_py_resume_reading(ml_transport *self, PyObject *unused);
PyObject *ml_transport_py_is_reading(ml_transport *self, PyObject *unused);
PyObject *ml_transport_py_make_empty_waiter(ml_transport *self, PyObject *unused);
PyObject *ml_transport_py_make_lost_waiter(ml_transport *self, PyObject *unused);
PyObject *ml_transport_py_reset_empty_waiter(ml_transport *self, PyObject *unused);
PyObject *ml_transport_py_is_ours(ml_transport *self, PyObject *unused);
PyObject *ml_transport_py_close(ml_transport *self, PyObject *unused);
PyObject *ml_transport_py_is_closing(ml_transport *self, PyObject *unused);
PyObject *ml_transport_py_abort(ml_transport *self, PyObject *unused);
PyObject *ml_transport_py_get_protocol(ml_transport *self, PyObject *unused);
PyObject *ml_transport_py_set_protocol(ml_transport *self, PyObject *const *args, Py_ssize_t nargs,
                                       PyObject *kwnames);

extern PyMethodDef ml_stream_methods[];
extern PyGetSetDef ml_transport_getset[];
extern PyMemberDef ml_transport_members[];
PyObject *ml_transport_repr(ml_transport *self);

/* Lines to write, of plain data: a list of our own, or NULL with what `check` sets for one of them,
 * or what else is wrong with it. */
PyObject *ml_transport_plain_lines(PyObject *lines, int (*check)(PyObject *));
/* The arguments high and low of the methods that set water marks; `usual` is the high one by
 * default. -1 with an exception. */
int ml_transport_parse_limits(PyObject *args, PyObject *kwargs, const char *format, size_t usual,
                              size_t *high_mark, size_t *low_mark);

/* What is written: bytes, bytearray or memoryview. */
bool ml_transport_is_data(PyObject *data);
/* -1 with TypeError. */
int ml_transport_type_error(PyObject *data);
/* The same as an exact type, a new reference: a subclass's __buffer__() may do anything, so it is
 * called before the transport is looked at. NULL with what that raised, or MemoryError. */
PyObject *ml_transport_plain_data(PyObject *data);
/* Bytes in it, asked of the object itself: a subclass's __len__() may say or do anything. -1 with
 * ValueError for a memoryview that was released. */
Py_ssize_t ml_transport_data_size(PyObject *data);
/* The connection is gone: the write is dropped, as in stock asyncio with a warning in the end. */
int ml_transport_count_lost_write(ml_transport *self);
/* What was only waiting for the end of the callback is tried before its fate is asked or decided,
 * so that the caller sees what a transport that sends at once would show. */
int ml_transport_try_now(ml_transport *self);

#endif
