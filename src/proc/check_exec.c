/* proc/check_exec.c - posternd -n: what exec services name is there. */
#include "proc/parent.h"

#include "proc/program_user.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

PT_PRINTF(3, 4) static void
say(const struct conf_service *s, const char *kind, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "posternd: %sservice %s: ", kind, s->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static unsigned
check_command(const struct conf_service *s)
{
	const char *path = s->exec.command[0];
	struct stat st;

	if (stat(path, &st) != 0)
		say(s, "", "command %s: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		say(s, "", "command %s is not a file", path);
	else if ((st.st_mode & 0111) == 0 || access(path, X_OK) != 0)
		say(s, "", "command %s is not executable", path);
	else
		return 0;
	return 1;
}

static unsigned
check_directory(const struct conf_service *s)
{
	struct stat st;

	if (stat(s->exec.directory, &st) != 0)
		say(s, "", "directory %s: %s", s->exec.directory, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		say(s, "", "directory %s is no directory", s->exec.directory);
	else
		return 0;
	return 1;
}

static unsigned
check_user(const struct conf_service *s)
{
	const struct passwd *own;
	struct program_user user;
	struct diag diag = { "" };

	if (geteuid() != 0) {
		own = getpwuid(geteuid());
		if (own == NULL || strcmp(own->pw_name, s->exec.user) != 0)
			say(s, "warning: ", "the server would run as %s: its programs, too, and not as %s",
				own != NULL ? own->pw_name : "you", s->exec.user);
		return 0;
	}
	if (program_user_find(s->exec.user, &user, &diag) == 0)
		return 0;
	say(s, "", "%s", diag.text);
	return 1;
}

unsigned
check_exec(const struct conf *conf)
{
	unsigned mistakes = 0;
	size_t i;

	for (i = 0; i < conf->nservices; i++)
		if (conf->services[i].protocol == CONF_PROTOCOL_EXEC)
			mistakes += check_command(&conf->services[i]) + check_directory(&conf->services[i]) +
				check_user(&conf->services[i]);
	return mistakes;
}
