/* cli/cli_main.c - the program "postern": reads the command line, calls the command. */
#include "cli/cli.h"

#include "config.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static enum cli_exit cmd_help(const struct cli *cli, int argc, char **argv);

static const struct command {
	const char *name;
	const char *arguments;
	const char *text; /* one line for "help" */
	enum cli_exit (*run)(const struct cli *cli, int argc, char **argv);
} commands[] = {
	{ "setup", "", "make accounts, folders, a key, a certificate, a configuration and a first user", cli_setup },
	{ "status", "", "what the running server is doing", cli_status },
	{ "why", "[last | ADDRESS | USER]", "why a connection failed, in a sentence", cli_why },
	{ "trace", "[last | ID | ADDRESS]", "what passed on a connection, step by step", cli_trace },
	{ "metrics", "", "its numbers, as Prometheus reads them", cli_metrics },
	{ "config", "show", "the configuration in effect, with the origin of each value", cli_config },
	{ "reload", "", "let the running server read its configuration again", cli_reload },
	{ "user", "add | list | passwd | set | del", "who has a mailbox and may log in", cli_user },
	{ "reindex", "[ADDRESS [MAILBOX]]", "make mailboxes' indexes anew, or take Maildirs over from Dovecot", cli_reindex },
	{ "store", "check [ADDRESS [MAILBOX]]", "whether mailboxes, journal and keys are as they should be", cli_store },
	{ "store", "stat [ADDRESS]", "how the store stands, and who has how much mail", cli_store },
	{ "help", "", "this text", cmd_help },
};

static const struct option_text {
	const char *name;
	const char *text;
} option_texts[] = {
	{ "-f, --file FILE", "the configuration, instead of " CLI_DEFAULT_CONF },
	{ "-s, --socket PATH", "the control socket, instead of the configuration's" },
	{ "-j, --json", "answer in one line of JSON" },
	{ "-F, --follow", "of trace: go on, with each step as it happens" },
	{ "-V, --version", "the version" },
	{ "-h, --help", "this text" },
	{ "", "setup: --hostname NAME, --domain DOMAIN, --postmaster ADDRESS, --client-ca FILE" },
	{ "", "user add and set: --quota SIZE, --alias ADDRESS, --no-alias ADDRESS" },
	{ "", "setup, user add and passwd: --stdin, --generate, --no-password" },
};

static enum cli_exit
help_json(const struct cli *cli)
{
	json_t *list = json_array(), *row;
	size_t i;

	for (i = 0; i < PT_COUNT(commands); i++) {
		row = json_pack("{s:s, s:s, s:s}", "name", commands[i].name, "arguments",
				commands[i].arguments, "help", commands[i].text);
		if (json_array_append_new(list, row) != 0) {
			json_decref(list);
			return cli_fail_memory(cli);
		}
	}
	return cli_put_json(cli, json_pack("{s:b, s:s, s:o}", "ok", 1, "version", PACKAGE_VERSION,
					   "commands", list));
}

static enum cli_exit
cmd_help(const struct cli *cli, int argc, char **argv)
{
	char words[64];
	int width = 0, n;
	size_t i;

	(void)argv;
	if (argc > 0)
		return cli_fail(cli, CLI_USAGE, "help takes no argument");
	if (cli->json)
		return help_json(cli);
	printf("usage: postern [OPTION]... COMMAND\n\ncommands:\n");
	for (i = 0; i < PT_COUNT(commands); i++) {
		n = (int)(strlen(commands[i].name) + 1 + strlen(commands[i].arguments));
		width = n > width ? n : width;
	}
	for (i = 0; i < PT_COUNT(commands); i++) {
		snprintf(words, sizeof words, "%s %s", commands[i].name, commands[i].arguments);
		printf("  %-*s  %s\n", width, words, commands[i].text);
	}
	printf("\noptions, before or behind the command:\n");
	for (i = 0; i < PT_COUNT(option_texts); i++)
		printf("  %-*s  %s\n", width, option_texts[i].name, option_texts[i].text);
	printf("\npostern(1) has the rest: exit codes, files, examples.\n");
	return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

static enum cli_exit
put_version(const struct cli *cli)
{
	if (cli->json)
		return cli_put_json(cli,
				    json_pack("{s:b, s:s}", "ok", 1, "version", PACKAGE_VERSION));
	printf("postern " PACKAGE_VERSION "\n");
	return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

/* The first thing that getopt did not take; told after all options are read, since --json decides
 * how. */
struct bad_option {
	int what;   /* '?' or ':' of getopt; 0: none */
	int letter; /* of a short option */
	char *word;
};

static enum cli_exit
fail_option(const struct cli *cli, const struct bad_option *bad)
{
	if (bad->what == ':')
		return cli_fail(cli, CLI_USAGE, "option %s needs a value; try: postern help",
				bad->word);
	if (bad->letter != 0)
		return cli_fail(cli, CLI_USAGE, "there is no option -%c; try: postern help",
				bad->letter);
	return cli_fail(cli, CLI_USAGE, "there is no option %s; try: postern help", bad->word);
}

/* Options of single commands have no letter. */
enum {
	OPT_STDIN = 1000,
	OPT_GENERATE,
	OPT_NO_PASSWORD,
	OPT_QUOTA,
	OPT_ALIAS,
	OPT_NO_ALIAS,
	OPT_HOSTNAME,
	OPT_DOMAIN,
	OPT_POSTMASTER,
	OPT_CLIENT_CA,
	OPT_END,
	OPT_REPAIR, /* of "postern store" alone */
};

enum { FOR_USER = 1, FOR_SETUP = 2 };

static const struct {
	const char *name;
	unsigned whose;
	const char *words;
} own_options[OPT_END - OPT_STDIN] = {
	[OPT_STDIN - OPT_STDIN] = { "--stdin", FOR_USER | FOR_SETUP, "\"postern user\" and \"postern setup\"" },
	[OPT_GENERATE - OPT_STDIN] = { "--generate", FOR_USER | FOR_SETUP, "\"postern user\" and \"postern setup\"" },
	[OPT_NO_PASSWORD - OPT_STDIN] = { "--no-password", FOR_USER | FOR_SETUP, "\"postern user\" and \"postern setup\"" },
	[OPT_QUOTA - OPT_STDIN] = { "--quota", FOR_USER, "\"postern user\"" },
	[OPT_ALIAS - OPT_STDIN] = { "--alias", FOR_USER, "\"postern user\"" },
	[OPT_NO_ALIAS - OPT_STDIN] = { "--no-alias", FOR_USER, "\"postern user\"" },
	[OPT_HOSTNAME - OPT_STDIN] = { "--hostname", FOR_SETUP, "\"postern setup\"" },
	[OPT_DOMAIN - OPT_STDIN] = { "--domain", FOR_SETUP, "\"postern setup\"" },
	[OPT_POSTMASTER - OPT_STDIN] = { "--postmaster", FOR_SETUP, "\"postern setup\"" },
	[OPT_CLIENT_CA - OPT_STDIN] = { "--client-ca", FOR_SETUP, "\"postern setup\"" },
};

static unsigned
whose(enum cli_exit (*command)(const struct cli *, int, char **))
{
	return command == cli_user ? FOR_USER : command == cli_setup ? FOR_SETUP : 0;
}

/* given: a bit for each of those options. */
static enum cli_exit
run(const struct cli *cli, int argc, char **argv, unsigned given)
{
	size_t i, k;

	if (argc == 0)
		return cli_fail(cli, CLI_USAGE, "a command is missing; try: postern help");
	for (i = 0; i < PT_COUNT(commands); i++) {
		if (strcmp(argv[0], commands[i].name) != 0)
			continue;
		for (k = 0; k < PT_COUNT(own_options); k++)
			if ((given & 1u << k) != 0 && (own_options[k].whose & whose(commands[i].run)) == 0)
				return cli_fail(cli, CLI_USAGE, "option %s is for %s; try: postern help", own_options[k].name,
						own_options[k].words);
		if (cli->repair && commands[i].run != cli_store)
			return cli_fail(cli, CLI_USAGE, "--repair is for \"postern store check\"; try: postern help");
		if (cli->follow && commands[i].run != cli_trace)
			return cli_fail(cli, CLI_USAGE, "--follow is for \"postern trace\"; try: postern help");
		return commands[i].run(cli, argc - 1, argv + 1);
	}
	return cli_fail(cli, CLI_USAGE, "there is no command \"%s\"; try: postern help", argv[0]);
}

static void
take_own_option(struct cli *cli, int opt)
{
	struct cli_user *u = &cli->user;
	struct cli_setup *s = &cli->setup;

	u->any = u->any || (own_options[opt - OPT_STDIN].whose & FOR_USER) != 0;
	switch (opt) {
	case OPT_STDIN:
		u->from_stdin = true;
		break;
	case OPT_GENERATE:
		u->generate = true;
		break;
	case OPT_NO_PASSWORD:
		u->no_password = true;
		break;
	case OPT_QUOTA:
		u->quota = optarg;
		break;
	case OPT_ALIAS:
		if (u->naliases < CLI_ALIASES_MAX)
			u->aliases[u->naliases++] = optarg;
		break;
	case OPT_NO_ALIAS:
		if (u->nno_aliases < CLI_ALIASES_MAX)
			u->no_aliases[u->nno_aliases++] = optarg;
		break;
	case OPT_HOSTNAME:
		s->hostname = optarg;
		break;
	case OPT_DOMAIN:
		if (s->ndomains < CLI_DOMAINS_MAX)
			s->domains[s->ndomains] = optarg;
		s->ndomains += s->ndomains <= CLI_DOMAINS_MAX;
		break;
	case OPT_POSTMASTER:
		s->postmaster = optarg;
		break;
	case OPT_CLIENT_CA:
		s->client_ca = optarg;
		break;
	}
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "file", required_argument, NULL, 'f' }, { "socket", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },       { "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },       { "follow", no_argument, NULL, 'F' },
		{ "stdin", no_argument, NULL, OPT_STDIN },
		{ "generate", no_argument, NULL, OPT_GENERATE },
		{ "no-password", no_argument, NULL, OPT_NO_PASSWORD },
		{ "quota", required_argument, NULL, OPT_QUOTA },
		{ "alias", required_argument, NULL, OPT_ALIAS },
		{ "no-alias", required_argument, NULL, OPT_NO_ALIAS },
		{ "repair", no_argument, NULL, OPT_REPAIR },
		{ "hostname", required_argument, NULL, OPT_HOSTNAME },
		{ "domain", required_argument, NULL, OPT_DOMAIN },
		{ "postmaster", required_argument, NULL, OPT_POSTMASTER },
		{ "client-ca", required_argument, NULL, OPT_CLIENT_CA },
		{ NULL, 0, NULL, 0 },
	};
	struct cli cli = { .conf_file = CLI_DEFAULT_CONF };
	bool version = false, help = false;
	struct bad_option bad = { 0 };
	unsigned given = 0;
	int opt;

	signal(SIGPIPE, SIG_DFL); /* "postern config show | head" ends quietly */
	opterr = 0;
	while ((opt = getopt_long(argc, argv, ":f:s:jFVh", options, NULL)) != -1) {
		switch (opt) {
		case 'f':
			cli.conf_file = optarg;
			cli.conf_given = true;
			break;
		case 's':
			cli.socket = optarg;
			break;
		case 'j':
			cli.json = true;
			break;
		case 'F':
			cli.follow = true;
			break;
		case 'V':
			version = true;
			break;
		case 'h':
			help = true;
			break;
		case OPT_REPAIR:
			cli.repair = true;
			break;
		default:
			if (opt >= OPT_STDIN) {
				take_own_option(&cli, opt);
				given |= 1u << (opt - OPT_STDIN);
			} else if (bad.what == 0)
				bad = (struct bad_option){ opt, optopt, argv[optind - 1] };
		}
	}
	if (bad.what != 0)
		return fail_option(&cli, &bad);
	if (version)
		return put_version(&cli);
	if (help)
		return cmd_help(&cli, 0, NULL);
	return run(&cli, argc - optind, argv + optind, given);
}
