/* util/err.h - result codes and assertions.
 *
 * A function that can fail returns 0 or one of these, all negative. The text for
 * people travels beside it in a struct diag (util/diag.h). */
#ifndef UTIL_ERR_H
#define UTIL_ERR_H

#define PT_ERRORS(X)                                                                               \
	X(ENOMEM, -1, "out of memory")                                                             \
	X(EINVAL, -2, "invalid value")                                                             \
	X(EIO, -3, "input or output failed")                                                       \
	X(EAGAIN, -4, "not now")                                                                   \
	X(EEOF, -5, "end of file")                                                                 \
	X(ETOOBIG, -6, "larger than its limit")                                                    \
	X(EPROTO, -7, "protocol violated")                                                         \
	X(EPERM, -8, "not permitted")                                                              \
	X(ENOENT, -9, "not found")                                                                 \
	X(EBUSY, -10, "in use")                                                                    \
	X(ETIMEDOUT, -11, "timed out")                                                             \
	X(EFULL, -12, "no room left")                                                              \
	X(EUNAVAIL, -13, "not available at present")

enum pt_error {
#define PT_ERROR_ENUM(name, value, text) PT_##name = (value),
	PT_ERRORS(PT_ERROR_ENUM)
#undef PT_ERROR_ENUM
};

#define PT_MUST_USE __attribute__((warn_unused_result))
#define PT_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define PT_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Text of a result code; 0 is "no error". Static storage. */
const char *pt_strerror(int rc);

/* An assertion that stays on in release builds: what it guards is our own bug. Writes one
 * line to stderr and aborts; the parent starts another process. */
#define PT_ASSERT(x) ((x) ? (void)0 : pt_assert_failed(#x, __FILE__, __LINE__, __func__))
__attribute__((noreturn)) void pt_assert_failed(const char *what, const char *file, int line,
						const char *func);

#endif
