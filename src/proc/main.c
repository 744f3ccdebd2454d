/* proc/main.c - posternd: what the command line asks for, and which role this process has. */
#include "config.h"

#include "proc/keyholder.h"
#include "proc/parent.h"
#include "proc/spawn_main.h"
#include "proc/worker_main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
usage(FILE *out, int code)
{
	fprintf(out, "usage: posternd [-dnV] [-f FILE]\n"
		"  -d       stay in the foreground, log to stderr\n"
		"  -f FILE  configuration (default " SYSCONFDIR "/postern/postern.conf)\n"
		"  -n       check the configuration and what it names, then end\n"
		"  -V       print the version\n"
		"See posternd(8).\n");
	return code;
}

/* A path of its own: the process changes its folder, and an upgrade reads it again. */
static const char *
absolute(const char *path)
{
	char *full = realpath(path, NULL);

	return full != NULL ? full : path;
}

static int
role_main(const char *role, int argc, char **argv)
{
	if (strcmp(role, role_name(ROLE_KEYHOLDER)) == 0)
		return keyholder_main(argc, argv);
	if (strcmp(role, role_name(ROLE_WORKER)) == 0)
		return worker_main(argc, argv);
	if (strcmp(role, role_name(ROLE_SPAWN)) == 0)
		return spawn_main(argc, argv);
	fprintf(stderr, "posternd: -r is for posternd itself\n");
	return 64;
}

int
main(int argc, char **argv)
{
	const char *conf_path = SYSCONFDIR "/postern/postern.conf";
	bool foreground = false, check = false;
	int o;

	unsetenv("SSLKEYLOGFILE"); /* GnuTLS would write session secrets there */
	if (argc >= 3 && strcmp(argv[1], "-r") == 0)
		return role_main(argv[2], argc, argv);
	while ((o = getopt(argc, argv, "df:nVh")) != -1) {
		switch (o) {
		case 'd':
			foreground = true;
			break;
		case 'f':
			conf_path = optarg;
			break;
		case 'n':
			check = true;
			break;
		case 'V':
			puts("posternd " PACKAGE_VERSION);
			return 0;
		case 'h':
			return usage(stdout, 0);
		default:
			return usage(stderr, 64);
		}
	}
	if (optind < argc)
		return usage(stderr, 64);
	conf_path = absolute(conf_path);
	return check ? check_main(conf_path) : parent_main(argc, argv, conf_path, foreground);
}
