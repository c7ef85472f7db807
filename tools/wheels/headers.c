/* Compiled for each target with the headers of a CPython that runs on the machine of the build, to
 * prove that they are right for the target.
 *
 * CPython's headers are the same everywhere, but for pyconfig.h. Of that an extension module
 * depends on the sizes of C's types and the order of bytes, which are asserted here: all targets
 * are 64-bit Linux with little-endian bytes. HAVE_* are for CPython's own sources; what of them the
 * public headers ask for (<sys/stat.h> and the like, fork(), threads) all targets have, and it is
 * included. Debian's pyconfig.h for x86_64 and for aarch64 differ in four lines: in two about
 * assembler, in PY_SUPPORT_TIER, and in HAVE_USABLE_WCHAR_T (whether wchar_t is unsigned). The
 * first three are for CPython's own sources, the last for a type's old name, Py_UNICODE. */
#include <Python.h>

#include <pthread.h>
#include <stddef.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#define SAME(name, type) _Static_assert(SIZEOF_##name == sizeof(type), #type)

SAME(SHORT, short);
SAME(INT, int);
SAME(LONG, long);
SAME(LONG_LONG, long long);
SAME(FLOAT, float);
SAME(DOUBLE, double);
SAME(VOID_P, void *);
SAME(SIZE_T, size_t);
SAME(UINTPTR_T, uintptr_t);
SAME(OFF_T, off_t);
SAME(TIME_T, time_t);
SAME(PID_T, pid_t);
SAME(WCHAR_T, wchar_t);
SAME(PTHREAD_T, pthread_t);
SAME(PTHREAD_KEY_T, pthread_key_t);

_Static_assert(ALIGNOF_LONG == _Alignof(long), "long");
_Static_assert(ALIGNOF_SIZE_T == _Alignof(size_t), "size_t");
_Static_assert(sizeof(Py_ssize_t) == sizeof(void *) && sizeof(Py_hash_t) == sizeof(void *), "");

#ifdef WORDS_BIGENDIAN
#error "the order of bytes"
#endif
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the order of bytes"
#endif
#if defined(Py_DEBUG) || defined(Py_TRACE_REFS) || defined(Py_GIL_DISABLED)
#error "a Python whose objects are laid out in another way"
#endif
