/* conf/conf_mdoc.c - prints the option lists of postern.conf(5) in mdoc, from the schema. Run at
 * build time: it copies the page's frame from standard input and replaces each line
 * ".\" @options NAME@" by the list of that block. */
#include "conf/conf_schema.h"
#include "conf/conf_value.h"

#include <stdio.h>
#include <string.h>

#define LINE_OCTETS 1024

static const struct conf_block *const blocks[] = { &conf_schema_top, &conf_schema_control,
						   &conf_schema_tls, &conf_schema_name,
						   &conf_schema_identity, &conf_schema_service };
static const char *const block_names[] = { "top", "control", "tls", "name", "identity", "service" };

/* A list of those directives of a service that not every protocol has. */
static const struct {
	const char *name;
	unsigned protocol;
} protocols[] = { { "exec", 1u << CONF_PROTOCOL_EXEC }, { "mail", CONF_PROTOCOLS_MAIL } };

/* Text in which nothing is a macro or an escape: a '\' is "\e", and a line never begins with '.' or
 * "'" because it begins with a letter of ours. Each sentence has a line of its own. */
static void
print_text(const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == '\\')
			fputs("\\e", stdout);
		else
			putchar(*s);
		if (s[0] == '.' && s[1] == ' ') {
			putchar('\n');
			s++;
		}
	}
}

static bool
is_upper_word(const char *w, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (w[i] < 'A' || w[i] > 'Z')
			return false;
	return n > 0;
}

/* What follows the name: words in capitals are arguments, the others are written as they are;
 * brackets, braces and bars between. */
static void
print_args(const char *args)
{
	size_t n;

	for (args += strspn(args, " "); *args != '\0'; args += n, args += strspn(args, " ")) {
		n = strcspn(args, " []|{}");
		if (n == 0) {
			n = 1;
			printf(*args == '['   ? " Oo"
			       : *args == ']' ? " Oc"
			       : *args == '|' ? " |"
					      : " No %c",
			       *args);
		} else if (strncmp(args, "...", n) == 0) {
			printf(" No ...");
		} else {
			printf(" %s %.*s", is_upper_word(args, n) ? "Ar" : "Cm", (int)n, args);
		}
	}
}

/* Range and default, where there is one. */
static void
print_facts(const struct conf_directive *d)
{
	char min[CONF_VALUE_TEXT_MAX], max[CONF_VALUE_TEXT_MAX];

	if (d->type == CONF_T_NUMBER)
		printf("From %u to %u.\n", (unsigned)d->min, (unsigned)d->max);
	if (d->type == CONF_T_SIZE)
		printf("From %s to %s.\n", conf_value_size_print(d->min, min),
		       conf_value_size_print(d->max, max));
	if (d->type == CONF_T_RATE)
		printf("From %u to %u, in at most %s.\n", (unsigned)d->min, (unsigned)d->max,
		       conf_value_duration_print(CONF_DAY_MS, max));
	if (d->type == CONF_T_DURATION)
		printf("From %s to %s.\n", conf_value_duration_print(d->min, min),
		       conf_value_duration_print(d->max, max));
	if (d->def != NULL) {
		printf("Default:\n.Ql ");
		print_text(d->def);
		if (d->mail_def != NULL) {
			printf(" ,\nin a mail protocol\n.Ql ");
			print_text(d->mail_def);
		}
		if (d->unit != NULL)
			printf(" ,\n%s.\n", d->unit);
		else
			printf(" .\n");
	} else if (d->unit != NULL) {
		printf("Default: %s.\n", d->unit);
	}
	if ((d->flags & CONF_F_REQUIRED) != 0)
		puts("Must be given.");
	if ((d->flags & CONF_F_REPEAT) != 0)
		puts("May be given several times.");
}

/* protocols: of the directives, 0 those that every service has. */
static void
print_block(const struct conf_block *b, unsigned of)
{
	const struct conf_directive *d;

	puts(".Bl -tag -width Ds");
	for (d = b->directives; d < b->directives + b->n; d++) {
		if (of == 0 ? d->protocols != 0 : (d->protocols & of) == 0)
			continue;
		printf(".It Ic %s", d->name);
		if (d->args != NULL)
			print_args(d->args);
		if (d->block != NULL && (d->args == NULL || strchr(d->args, '{') == NULL))
			printf(" No { ... }");
		printf("\n");
		print_text(d->help);
		printf("\n");
		print_facts(d);
	}
	puts(".El");
}

int
main(void)
{
	char line[LINE_OCTETS], name[32];
	size_t i, done = 0;

	while (fgets(line, sizeof line, stdin) != NULL) {
		if (sscanf(line, ".\\\" @options %31[a-z]@", name) != 1) {
			fputs(line, stdout);
			continue;
		}
		for (i = 0; i < PT_COUNT(blocks); i++)
			if (strcmp(block_names[i], name) == 0) {
				print_block(blocks[i], 0);
				done++;
			}
		for (i = 0; i < PT_COUNT(protocols); i++)
			if (strcmp(protocols[i].name, name) == 0) {
				print_block(&conf_schema_service, protocols[i].protocol);
				done++;
			}
	}
	/* a block that the page forgets is a mistake of the page */
	if (done != PT_COUNT(blocks) + PT_COUNT(protocols) || ferror(stdin) || fflush(stdout) != 0)
		return 1;
	return 0;
}
