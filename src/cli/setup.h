/* cli/setup.h - "postern setup": what its files share.
 *
 * setup.c decides the order, setup_mail.c finds out or asks which domain and whose, setup_accounts.c makes system
 * accounts, setup_files.c makes folders and files (never over what is there), setup_conf.c knows the configuration
 * file, setup_tell.c says what was done and what comes next. Each step looks first, makes only what is missing, and
 * notes both; so a second run changes nothing. */
#ifndef CLI_SETUP_H
#define CLI_SETUP_H

#include "cli/cli.h"
#include "cli/user.h"
#include "conf/conf.h"
#include "mail/normal.h"
#include "util/diag.h"

#include <sys/types.h>

#define SETUP_ITEMS_MAX 64
#define SETUP_PORT_TRIES 100 /* ports that are looked at for a free one */

enum setup_port { SETUP_PORT_LINE, SETUP_PORT_SMTP, SETUP_PORT_SUBMISSION, SETUP_PORT_SUBMISSIONS, SETUP_PORTS };

enum setup_did {
	SETUP_THERE,    /* was there, not touched */
	SETUP_MADE,
	SETUP_REPLACED, /* the configuration as installed gave way to one that serves */
};

/* One thing that the installation consists of. */
struct setup_item {
	const char *what; /* "account", "group", "folder", "key", "certificate", "configuration", "users" (the file), "user" */
	char *name;       /* owned */
	enum setup_did did;
};

/* What kind of configuration stands in the way. */
enum setup_found {
	SETUP_CONF_NONE,
	SETUP_CONF_PRISTINE, /* octet for octet as installed */
	SETUP_CONF_OWN,      /* anything else: somebody's work, kept */
};

/* All strings are owned and absolute once setup_conf_paths() is through. */
struct setup {
	const struct cli *cli;
	bool root;          /* makes accounts, and folders that accounts can reach */
	bool local;         /* everything beside the configuration file */
	char *conf_file;
	char *folder;       /* of conf_file */
	char *tls_folder;
	char *certificate;
	char *key;
	char *state;
	char *empty;        /* the children's root directory */
	char *run;
	char *pid_file;
	char *socket;
	char *mail;         /* folder of the mailboxes; NULL: none */
	char *users;        /* the users file; NULL: none */
	char *lmtp;         /* unix socket */
	char *client_ca;    /* of the users' certificates; NULL: none was named */
	/* of a configuration that is written: */
	char hostname[NORMAL_DOMAIN_MAX]; /* "": the machine has no full name */
	char domains[CLI_DOMAINS_MAX][NORMAL_DOMAIN_MAX];
	size_t ndomains;
	char postmaster[NORMAL_ADDRESS_MAX]; /* also the first user */
	unsigned ports[SETUP_PORTS];
	bool ipv6;          /* listens there, too */
	bool made_user;
	char password[USER_PASSWORD_MAX]; /* of the first user, when it was made up; else "" */
	enum setup_found found;
	struct conf *conf;  /* in effect; until the file is written: NULL unless found is OWN */
	struct setup_item items[SETUP_ITEMS_MAX];
	size_t nitems;
};

/* Notes one thing. name is copied. PT_ENOMEM. */
int setup_note(struct setup *s, const char *what, const char *name, enum setup_did did) PT_MUST_USE;

/* Frees everything in it. */
void setup_fini(struct setup *s);

/* True when something was made or replaced. */
bool setup_changed(const struct setup *s);

/* Makes the system accounts that are missing. Root only. On failure diag says which and why. */
int setup_accounts_make(struct setup *s, struct diag *diag) PT_MUST_USE;

/* Makes the folder and the parents it lacks (those with 0755). PT_EIO when something else is there. */
int setup_files_folder(struct setup *s, const char *path, mode_t mode,
		       struct diag *diag) PT_MUST_USE;

/* Makes the key (0600) and its self-signed certificate (0644), unless both are there. One without
 * the other is an error: which of the two is wanted only a person knows. */
int setup_files_credentials(struct setup *s, struct diag *diag) PT_MUST_USE;

/* Writes a file that appears whole or not at all: text goes to a temporary file beside path, which
 * is then linked (replace false: fails when path exists) or renamed into place. */
int setup_files_write(const char *path, mode_t mode, struct span text, bool replace,
		      struct diag *diag) PT_MUST_USE;

/* Reads at most max octets. PT_ENOENT, PT_ETOOBIG, PT_EIO, PT_ENOMEM. */
int setup_files_read(const char *path, size_t max, struct buf *out, struct diag *diag) PT_MUST_USE;

/* The full path of a system program, NULL when it is not installed. Static storage. */
const char *setup_accounts_program(const char *name, char *path_out, size_t cap);

/* The same with an owner, where root makes it. */
int setup_files_folder_of(struct setup *s, const char *path, mode_t mode, const char *account,
			  struct diag *diag) PT_MUST_USE;

/* Domain, postmaster, host name and CA of a new configuration, from options, the machine, or by asking. */
enum cli_exit setup_mail_decide(struct setup *s);

/* Whether the configuration that is kept has what the options ask for. */
enum cli_exit setup_mail_agrees(struct setup *s);

/* Ports for a new configuration. Those of the machine's mail server must be free. */
enum cli_exit setup_mail_ports(struct setup *s);

/* Prints what was made and what to do next. */
enum cli_exit setup_tell(struct setup *s);

/* Fills in all paths: the machine's, or those beside the file of -f. PT_EINVAL when the file has no
 * usable name. Makes nothing; the folder of the file need not exist. */
int setup_conf_paths(struct setup *s, struct diag *diag) PT_MUST_USE;

/* Looks at what is there (found). */
int setup_conf_look(struct setup *s, struct diag *diag) PT_MUST_USE;

/* Takes the paths of a kept configuration over, and checks that it names no credentials that are
 * missing and not ours to make. Needs s->conf. */
int setup_conf_adopt(struct setup *s, struct diag *diag) PT_MUST_USE;

/* Whether s->conf (NULL: the one we write) uses the certificate that setup makes. */
bool setup_conf_uses_ours(const struct setup *s);

/* Appends the configuration that setup writes. */
int setup_conf_text(const struct setup *s, struct buf *out) PT_MUST_USE;

/* Writes the configuration, unless one is kept. */
int setup_conf_write(struct setup *s, struct diag *diag) PT_MUST_USE;

#endif
