/* cli/user_password.c - a password from a person, a line or chance, and its stored forms by postern-auth -H, the one
 * program with the libraries for that. */
#include "cli/user.h"

#include <errno.h>
#include <limits.h>
#include <readpassphrase.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define HASHER "postern-auth"
#define EX_PASSWORD 65 /* its exit code for a password that cannot be used */

static enum cli_exit
ask(const struct cli *cli, const char *user, char out[USER_PASSWORD_MAX])
{
	char again[USER_PASSWORD_MAX], prompt[512];
	enum cli_exit code = CLI_OK;

	snprintf(prompt, sizeof prompt, "Password for %s: ", user);
	if (readpassphrase(prompt, out, USER_PASSWORD_MAX, RPP_REQUIRE_TTY) == NULL)
		return cli_fail(cli, CLI_USAGE, "there is no terminal to ask for a password at: use --stdin, "
			"--generate, or --no-password");
	if (readpassphrase("The same again: ", again, sizeof again, RPP_REQUIRE_TTY) == NULL)
		code = cli_fail(cli, CLI_FAILED, "no password was given twice: nothing was changed");
	else if (strcmp(out, again) != 0)
		code = cli_fail(cli, CLI_FAILED, "these were two different passwords: nothing was changed");
	explicit_bzero(again, sizeof again);
	return code;
}

static enum cli_exit
read_line(const struct cli *cli, char out[USER_PASSWORD_MAX])
{
	size_t n = 0;
	ssize_t k;

	while (n < USER_PASSWORD_MAX - 1 && (k = read(STDIN_FILENO, out + n, 1)) != 0) {
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return cli_fail(cli, CLI_FAILED, "reading the password from standard input: %s",
					strerror(errno));
		if (out[n] == '\n')
			break;
		n++;
	}
	out[n] = '\0';
	return CLI_OK;
}

/* 99 random bits in letters and digits that are not taken for each other. */
static void
generate(char out[USER_PASSWORD_MAX])
{
	static const char letters[] = "abcdefghjkmnpqrstuvwxyz23456789";
	size_t i, n = 0;

	for (i = 0; i < 20; i++) {
		if (i > 0 && i % 5 == 0)
			out[n++] = '-';
		out[n++] = letters[arc4random_uniform(sizeof letters - 1)];
	}
	out[n] = '\0';
}

/* --- its stored forms ------------------------------------------------------------------------- */

/* Installed beside us, or (a build folder) in the same one. */
static int
hasher_path(char *out, size_t cap)
{
	static const char *const places[] = { "%.*s/../libexec/postern/" HASHER, "%.*s/" HASHER };
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	size_t i, folder;

	if (n < 0)
		return PT_EIO;
	exe[n] = '\0';
	folder = (size_t)(strrchr(exe, '/') - exe);
	snprintf(out, cap, BINDIR "/");
	if (strncmp(exe, out, strlen(out)) == 0 && snprintf(out, cap, PKGLIBEXECDIR "/" HASHER) < (int)cap)
		return 0; /* the folders as they were configured */
	for (i = 0; i < PT_COUNT(places); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(out, cap, places[i], (int)folder, exe);
#pragma GCC diagnostic pop
		if (access(out, X_OK) == 0)
			return 0;
	}
	return PT_ENOENT;
}

__attribute__((noreturn)) static void
run_hasher(const char *path, int in, int out)
{
	char *const argv[] = { (char *)(uintptr_t)HASHER, (char *)(uintptr_t)"-H", NULL };
	char *const env[] = { NULL };

	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(71);
	closefrom(STDERR_FILENO + 1);
	execve(path, argv, env);
	_exit(127);
}

/* Gives it the password and reads one line. Returns its exit code, -1 when it could not be run. */
static int
hash(const char *path, const char *password, char field[USER_FIELD_MAX])
{
	int to[2] = { -1, -1 }, from[2] = { -1, -1 }, status = -1, i;
	size_t got = 0;
	ssize_t n;
	pid_t pid;

	if (pipe(to) != 0 || pipe(from) != 0 || (pid = fork()) < 0)
		goto out;
	if (pid == 0)
		run_hasher(path, to[0], from[1]);
	close(from[1]);
	from[1] = -1;
	/* it is shorter than a pipe is long, so this does not wait; it may have no reader */
	signal(SIGPIPE, SIG_IGN);
	n = write(to[1], password, strlen(password));
	close(to[1]);
	to[1] = -1;
	signal(SIGPIPE, SIG_DFL);
	while (got < USER_FIELD_MAX - 1 && (n = read(from[0], field + got, USER_FIELD_MAX - 1 - got)) != 0) {
		if (n < 0 && errno != EINTR)
			break;
		got += n > 0 ? (size_t)n : 0;
	}
	field[got] = '\0';
	field[strcspn(field, "\n")] = '\0';
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
out:
	for (i = 0; i < 2; i++) {
		if (to[i] >= 0)
			close(to[i]);
		if (from[i] >= 0)
			close(from[i]);
	}
	return status;
}

static enum cli_exit
store(const struct cli *cli, const char *password, char field[USER_FIELD_MAX])
{
	struct user_credentials c;
	char path[PATH_MAX];
	const char *why;
	int code;

	if (hasher_path(path, sizeof path) != 0)
		return cli_fail(cli, CLI_FAILED, "the program " HASHER " is not there: is the installation complete?");
	code = hash(path, password, field);
	if (code == EX_PASSWORD)
		return cli_fail(cli, CLI_FAILED, "this password cannot be used: 1 to 511 octets of UTF-8 without "
			"control characters are; nothing was changed");
	if (code != 0 || !users_credentials_parse(span_str(field), &c, &why))
		return cli_fail(cli, CLI_FAILED, "%s could not make the stored forms of the password (code %d): is the "
			"installation complete?", path, code);
	explicit_bzero(&c, sizeof c);
	return CLI_OK;
}

enum cli_exit
user_password_get(const struct cli *cli, const char *user, enum user_password_source source,
		  char password_out[USER_PASSWORD_MAX], char field_out[USER_FIELD_MAX])
{
	char password[USER_PASSWORD_MAX] = "";
	enum cli_exit code = CLI_OK;

	password_out[0] = '\0';
	snprintf(field_out, USER_FIELD_MAX, "-");
	switch (source) {
	case USER_PASSWORD_NONE:
		return CLI_OK;
	case USER_PASSWORD_ASK:
		code = ask(cli, user, password);
		break;
	case USER_PASSWORD_STDIN:
		code = read_line(cli, password);
		break;
	case USER_PASSWORD_GENERATE:
		generate(password);
		break;
	}
	if (code == CLI_OK)
		code = store(cli, password, field_out);
	if (code == CLI_OK && source == USER_PASSWORD_GENERATE)
		snprintf(password_out, USER_PASSWORD_MAX, "%s", password);
	explicit_bzero(password, sizeof password);
	return code;
}
