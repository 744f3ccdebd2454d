/* cli/admin.h - who answers an operator's questions about the store: the running server through its control socket, or, when
 * none runs, this process itself, which then has the store and its lock. Never both: the lock is the journal's. */
#ifndef CLI_ADMIN_H
#define CLI_ADMIN_H

#include "cli/cli.h"

struct admin;

/* CLI_OK: *a_out is the caller's. Otherwise NULL, and the failure has been told. */
enum cli_exit admin_open(const struct cli *cli, struct admin **a_out);

/* NULL is fine; sets the pointer to NULL. Without a server what was accepted and not yet carried out is, before it returns. */
void admin_close(struct admin **a);

/* Whether a server answers. */
bool admin_is_served(const struct admin *a);

/* One question (store/admin.h): its name, a user's address, a mailbox's name in UTF-8 ("": none). CLI_OK: *rows_out is an array of
 * objects, a new reference. CLI_DENIED and CLI_FAILED: *why_out is what the store says (owned), and nothing has been told. All
 * other codes: told, and there is nobody to ask any more. */
enum cli_exit admin_rows(struct admin *a, const char *what, const char *user, const char *box, bool repair,
			 json_t **rows_out, char **why_out);

/* Calls f for each mailbox that is meant: user NULL: of everybody; box NULL: all of the user. What it returns other than CLI_OK ends it. A
 * failure to find out which there are is told. */
typedef enum cli_exit admin_box_f(void *arg, const char *user, const char *box);
enum cli_exit admin_each(struct admin *a, const char *user, const char *box, admin_box_f *f, void *arg);

/* Calls f for each user that has mail, or for the one. box is NULL then. */
enum cli_exit admin_each_user(struct admin *a, const char *user, admin_box_f *f, void *arg);

/* --- admin_own.c: the store in this process -------------------------------------------------------------- */

struct own_store;
enum cli_exit own_store_open(const struct cli *cli, struct own_store **s_out);
void own_store_close(struct own_store **s);
enum cli_exit own_store_rows(struct own_store *s, const char *what, const char *user, const char *box, bool repair,
			     json_t **rows_out, char **why_out);

#endif
