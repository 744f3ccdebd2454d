/* proc/check_accounts.c - posternd -n: the users file and the impersonate table, in the child without root's rights. */
#include "proc/parent.h"

#include "auth/impersonate.h"
#include "auth/users.h"
#include "proc/files.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void
warn(const char *path, const char *text)
{
	fprintf(stderr, "posternd: warning: %s: %s\n", path, text);
}

static bool
is_ours(const struct conf *conf, const char *address)
{
	const char *domain = strrchr(address, '@') + 1;
	size_t i;

	for (i = 0; i < conf->ndomains; i++)
		if (strcmp(conf->domains[i], domain) == 0)
			return true;
	return false;
}

/* What is no mistake of the file, but surely not what was meant. */
static void
warn_of_users(const struct conf *conf, const struct gen_file *f, const struct users *users)
{
	const struct user *found[USERS_ALIAS_USERS_MAX];
	struct stat st;
	char text[512];
	size_t i;

	if (fstat(f->fd, &st) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		warn(f->path, "holds password hashes that others on this machine can read or change; chmod 0600");
	for (i = 0; i < users_count(users); i++) {
		if (is_ours(conf, users_at(users, i)->address))
			continue;
		snprintf(text, sizeof text, "user %s gets no mail: the domain is in no \"domain\" of %s",
			users_at(users, i)->address, conf->file);
		warn(f->path, text);
	}
	if (conf->postmaster == NULL || users_get(users, conf->postmaster) != NULL ||
	    users_by_alias(users, conf->postmaster, found) > 0)
		return;
	snprintf(text, sizeof text, "nobody is %s, the postmaster of %s: his mail goes to the first user",
		conf->postmaster, conf->file);
	warn(f->path, text);
}

/* 0, or what is in mistakes. */
static int
check_file(const struct conf *conf, const struct gen_file *f, struct buf *text, struct buf *mistakes)
{
	struct impersonate *impersonate = NULL;
	struct diag diag = { "" };
	struct users *users;
	int rc;

	if ((rc = file_slurp(f->fd, text, &diag)) != 0)
		return buf_printf(mistakes, "%s: %s\n", f->path, diag.text) != 0 ? PT_ENOMEM : rc;
	if (f->kind == CRED_IMPERSONATE) {
		rc = impersonate_parse(f->path, buf_span(text), &impersonate, mistakes);
		impersonate_free(&impersonate);
		return rc;
	}
	if ((rc = users_parse(f->path, buf_span(text), &users, mistakes)) == 0)
		warn_of_users(conf, f, users);
	users_free(&users);
	return rc;
}

unsigned
check_accounts(const struct generation *g)
{
	const struct gen_file *f;
	struct buf text, mistakes;
	unsigned bad = 0;
	size_t i;
	int rc;

	for (i = 0; g->accounts != NULL && i < g->accounts->nfiles; i++) {
		f = &g->accounts->files[i];
		buf_init(&text, f->kind == CRED_USERS ? USERS_FILE_MAX : IMPERSONATE_FILE_MAX);
		buf_init(&mistakes, 1024 * 1024);
		if ((rc = check_file(g->conf, f, &text, &mistakes)) != 0) {
			bad++;
			if (buf_size(&mistakes) == 0)
				fprintf(stderr, "posternd: %s: %s\n", f->path, pt_strerror(rc));
			else
				fwrite(buf_span(&mistakes).p, 1, buf_size(&mistakes), stderr);
		}
		buf_wipe(&text);
		buf_fini(&mistakes);
	}
	return bad;
}
