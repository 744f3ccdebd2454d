/* auth/failures.h - guessing passwords is slow work here: failed logins are counted by client address and by user.
 *
 * Each failure is forgotten after its share of the window, so a client may fail FAILURES_PER_ADDRESS times at once,
 * then once in WINDOW / PER_ADDRESS. By address: whatever user was tried. By user: whatever address it came
 * from, so that a swarm of addresses gets no further than one; but an address from which the user has logged in
 * lately is not held by that, or anybody could lock anybody out. Users that do not exist count like others.
 * Logins by certificate are not guessed and never come here.
 *
 * Memory: three tables of fixed size, 384 KiB; where too many are at it, the least guilty is forgotten. Knows no
 * clock; now_ms never goes back. Not thread safe. */
#ifndef AUTH_FAILURES_H
#define AUTH_FAILURES_H

#include <stdbool.h>
#include <stdint.h>

#define FAILURES_PER_ADDRESS 10
#define FAILURES_PER_USER 30
#define FAILURES_WINDOW_MS (10u * 60 * 1000)
#define FAILURES_KNOWN_MS (30ull * 24 * 3600 * 1000) /* how long an address is known for a user's */

struct failures;

/* NULL when out of memory. seed: a random number, so that nobody can choose who shares a place in the tables. */
struct failures *failures_new(uint64_t seed);
void failures_free(struct failures **f);

/* Whether one more attempt is allowed. address 0: not counted by address; user NULL: not known yet. */
bool failures_allows(const struct failures *f, uint64_t address, const char *user, uint64_t now_ms);

void failures_add(struct failures *f, uint64_t address, const char *user, uint64_t now_ms);

/* user has logged in from there. */
void failures_success(struct failures *f, uint64_t address, const char *user, uint64_t now_ms);

#endif
