/* cli/user.h - "postern user": what its files share.
 *
 * user.c has the commands, user_file.c reads the users file and writes it anew, user_password.c gets a password and
 * its stored forms. The file's form is auth/users.h's business; lines that a command does not change stay octet
 * for octet. */
#ifndef CLI_USER_H
#define CLI_USER_H

#include "auth/users.h"
#include "cli/cli.h"
#include "conf/conf.h"
#include "util/diag.h"

#include <sys/types.h>

/* --- user_file.c ------------------------------------------------------------------------------ */

struct user_file {
	char *path;          /* links resolved: a rename must not replace one */
	bool exists;
	struct buf text;     /* as it is on the disk */
	struct users *users;
	uid_t uid;           /* whose it is */
	gid_t gid;
	int lock_fd;         /* its folder, locked against other runs of this command; -1: not */
};

/* Reads the file that conf names; one that is not there yet is an empty one. lock: others wait until
 * user_file_close(). On failure it has been told, and nothing is to be closed. */
enum cli_exit user_file_open(const struct cli *cli, const struct conf *conf, bool lock, struct user_file *f);
void user_file_close(struct user_file *f);

/* Writes it with one line changed: old NULL: line is added; line NULL: old's line goes. By rename, on the disk when
 * this returns, mode 0600, the owner kept. What would be no good users file is not written but told. */
enum cli_exit user_file_put(const struct cli *cli, struct user_file *f, const struct user *old, const char *line);

/* --- user_password.c -------------------------------------------------------------------------- */

enum user_password_source {
	USER_PASSWORD_ASK,      /* twice, at the terminal */
	USER_PASSWORD_STDIN,    /* one line */
	USER_PASSWORD_GENERATE,
	USER_PASSWORD_NONE,     /* certificates only */
};

#define USER_PASSWORD_MAX 513 /* octets of a password with the NUL, and one too many to be noticed */
#define USER_FIELD_MAX 640    /* octets of stored forms with the NUL: both, each as long as the file takes it */

/* A password from there; its stored forms as a field of the users file. password_out holds what was generated, for
 * the caller to show once and to wipe; else "". On failure it has been told. */
enum cli_exit user_password_get(const struct cli *cli, const char *user, enum user_password_source source,
				char password_out[USER_PASSWORD_MAX], char field_out[USER_FIELD_MAX]);

/* --- user.c ----------------------------------------------------------------------------------- */

/* Makes a users file with that one user, unless somebody is in it already; the password is made up, or as the options
 * say. password_out as above. */
enum cli_exit user_first(const struct cli *cli, struct conf *conf, const char *address,
			 char password_out[USER_PASSWORD_MAX]);

#endif
