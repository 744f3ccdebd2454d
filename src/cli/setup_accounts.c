/* cli/setup_accounts.c - the system accounts, one per role so that no process can touch another,
 * and the group of people who may ask the server things. The same list stands in
 * etc/sysusers.d/postern.conf; tests/check-accounts.sh compares the two. */
#include "cli/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSUSERS_FILE SYSUSERSDIR "/postern.conf"
#define NO_HOME       "/nonexistent"

static const struct account {
	const char *name;
	const char *comment; /* NULL: a group only */
} accounts[] = {
	{ "_postern", "Postern worker" },
	{ "_posternk", "Postern keyholder" },
	{ "_posterna", "Postern authentication" },
	{ "_posternq", "Postern store" },
	{ "_posternr", "Postern reader" },
	{ "_posternc", "Postern control" },
	{ "postern-admin", NULL },
};

const char *
setup_accounts_program(const char *name, char *path_out, size_t cap)
{
	static const char *const folders[] = { "/usr/sbin", "/usr/bin", "/sbin", "/bin" };
	size_t i;
	int n;

	for (i = 0; i < PT_COUNT(folders); i++) {
		n = snprintf(path_out, cap, "%s/%s", folders[i], name);
		if (n > 0 && (size_t)n < cap && access(path_out, X_OK) == 0)
			return path_out;
	}
	return NULL;
}

static bool
is_there(const struct account *a)
{
	return a->comment == NULL ? getgrnam(a->name) != NULL : getpwnam(a->name) != NULL;
}

/* What the program wrote, for the message about its failure. */
static void
tell_output(int fd, const char *program, struct diag *diag)
{
	char text[512];
	ssize_t n = pread(fd, text, sizeof text - 1, 0);

	while (n > 0 && text[n - 1] == '\n')
		n--;
	text[n > 0 ? n : 0] = '\0';
	diag_set(diag, PT_EIO, "%s failed: %s", program, n > 0 ? text : "it does not say why");
}

/* Runs a program to its end, its output caught: ours is the list of what was made. */
static int
run(const char *program, char *const argv[], struct diag *diag)
{
	static char *const env[] = { (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
				     (char *)"LC_ALL=C", NULL };
	posix_spawn_file_actions_t fds;
	int out, status = 0, error, rc = 0;
	pid_t pid;

	if ((out = memfd_create("output", MFD_CLOEXEC)) < 0)
		return diag_set(diag, PT_EIO, "memfd_create: %s", strerror(errno));
	posix_spawn_file_actions_init(&fds);
	posix_spawn_file_actions_addopen(&fds, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&fds, out, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&fds, out, STDERR_FILENO);
	if ((error = posix_spawn(&pid, program, &fds, NULL, argv, env)) != 0) {
		rc = diag_set(diag, PT_EIO, "starting %s: %s", program, strerror(error));
	} else {
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (status != 0) {
			tell_output(out, program, diag);
			rc = PT_EIO;
		}
	}
	posix_spawn_file_actions_destroy(&fds);
	close(out);
	return rc;
}

static int
add_by_shadow(const struct account *a, struct diag *diag)
{
	char program[64], nologin[64];
	bool group_is_there = getgrnam(a->name) != NULL; /* then useradd would refuse to make it */
	const char *words[16];
	size_t n = 0;

	if (setup_accounts_program(a->comment == NULL ? "groupadd" : "useradd", program,
				   sizeof program) == NULL)
		return diag_set(
		    diag, PT_ENOENT,
		    "neither systemd-sysusers nor useradd and groupadd (Debian package "
		    "passwd) are here: make the account yourself, then run setup again");
	words[n++] = program;
	words[n++] = "--system";
	if (a->comment != NULL) {
		words[n++] = "--no-create-home";
		words[n++] = "--home-dir";
		words[n++] = NO_HOME;
		words[n++] = "--shell";
		words[n++] = setup_accounts_program("nologin", nologin, sizeof nologin) != NULL
				 ? nologin
				 : "/bin/false";
		words[n++] = "--comment";
		words[n++] = a->comment;
		words[n++] = group_is_there ? "--gid" : "--user-group";
		if (group_is_there)
			words[n++] = a->name;
	}
	words[n++] = a->name;
	words[n] = NULL;
	PT_ASSERT(n < PT_COUNT(words));
	/* posix_spawn() promises not to write to the words, but its prototype is older than const
	 */
	return run(program, (char *const *)(uintptr_t)words, diag);
}

/* One run makes all of them; it fails where /etc cannot be locked, and then useradd tells why. */
static void
add_by_sysusers(void)
{
	char program[64];
	struct diag ignored;

	if (setup_accounts_program("systemd-sysusers", program, sizeof program) == NULL ||
	    access(SYSUSERS_FILE, R_OK) != 0)
		return;
	if (run(program, (char *[]){ program, (char *)SYSUSERS_FILE, NULL }, &ignored) != 0)
		return;
}

int
setup_accounts_make(struct setup *s, struct diag *diag)
{
	bool was_there[PT_COUNT(accounts)], all = true;
	const struct account *a;
	size_t i;
	int rc;

	for (i = 0; i < PT_COUNT(accounts); i++)
		all &= was_there[i] = is_there(&accounts[i]);
	if (!all)
		add_by_sysusers();
	for (i = 0; i < PT_COUNT(accounts); i++) {
		a = &accounts[i];
		if (!is_there(a) && (rc = add_by_shadow(a, diag)) != 0) {
			diag_prefix(diag, "making the account %s", a->name);
			return rc;
		}
		if ((rc = setup_note(s, a->comment == NULL ? "group" : "account", a->name,
				     was_there[i] ? SETUP_THERE : SETUP_MADE)) != 0)
			return rc;
	}
	return 0;
}
