/* proc/watch.h - tells when one of some files may have changed, however that was done: renamed into its place,
 * written in place, removed and made anew, or by changing a symbolic link anywhere on the way to it (as
 * certbot and Kubernetes do).
 *
 * The kernel is asked (inotify) about each folder that the way to a file leads through, and about the one name
 * in it that matters; all are also looked at every WATCH_SLOW_MS, or every WATCH_FAST_MS where the kernel cannot
 * tell (file systems of other machines). Changes that come together are told together: WATCH_QUIET_MS after the
 * last one, at the latest WATCH_LATEST_MS after the first. Not thread safe. */
#ifndef PROC_WATCH_H
#define PROC_WATCH_H

#include "ev/ev.h"

#include <stddef.h>

#define WATCH_QUIET_MS 200
#define WATCH_LATEST_MS 1000
#define WATCH_FAST_MS 1000
#define WATCH_SLOW_MS 30000

struct watch;
typedef void watch_f(void *arg);

/* Watches nothing yet. f is called from the loop, and may call watch_paths(). inotify false: files are only looked
 * at. NULL when out of memory. */
struct watch *watch_new(struct ev_loop *loop, bool inotify, watch_f *f, void *arg);

/* These and no others from now on; absolute paths, copied, of files that need not be there. What has changed before
 * the call is not told. PT_ENOMEM: what is watched is undefined, until the next call. */
int watch_paths(struct watch *w, const char *const *paths, size_t n) PT_MUST_USE;

/* Why some of them are only looked at every second: a sentence, borrowed; NULL: none is. */
const char *watch_weakness(const struct watch *w);

/* NULL is fine; sets the pointer to NULL. */
void watch_free(struct watch **w);

#endif
