/* rec/why_mdoc.c - prints the tables of postern-why(7) in mdoc, from why_list.h. Run at build time: copies the page's
 * frame from standard input and replaces each line ".\" @codes NAME@" by the rows of that part, and
 * ".\" @words@" by the words in braces. */
#include "rec/why.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define LINE_OCTETS 1024

struct part {
	const char *name;
	const enum why_code *codes;
	size_t n;
};

#define CODE(name, word, side, kind, level, what, next) WHY_##name,
static const enum why_code certificates[] = { WHY_CERTIFICATES(CODE) };
static const enum why_code live[] = { WHY_LIVE(CODE) };
static const enum why_code negotiation[] = { WHY_NEGOTIATION(CODE) };
static const enum why_code alerts[] = { WHY_ALERTS(CODE) };
static const enum why_code wire[] = { WHY_WIRE(CODE) };
static const enum why_code rules[] = { WHY_RULES(CODE) };
static const enum why_code tickets[] = { WHY_TICKETS(CODE) };

static const struct part parts[] = {
	{ "certificates", certificates, PT_COUNT(certificates) },
	{ "live", live, PT_COUNT(live) },
	{ "negotiation", negotiation, PT_COUNT(negotiation) },
	{ "alerts", alerts, PT_COUNT(alerts) },
	{ "wire", wire, PT_COUNT(wire) },
	{ "rules", rules, PT_COUNT(rules) },
	{ "tickets", tickets, PT_COUNT(tickets) },
};

/* A template: words in braces are arguments, the rest is text. No line begins with a control character of
 * mdoc, because each begins with a letter or a brace. */
static void
print_template(const char *s)
{
	bool in_line = false;
	size_t n;

	while (*s != '\0') {
		n = strcspn(s, "{");
		if (n > 0) {
			while (!in_line && n > 0 && *s == ' ') /* it stands at the beginning of a line now */
				s++, n--;
			printf("%.*s", (int)n, s);
			in_line = n > 0 || in_line;
			s += n;
			continue;
		}
		n = strcspn(++s, "}");
		printf("%s.Ar %.*s", in_line ? "\n" : "", (int)n, s);
		s += n + 1;
		/* punctuation belongs to the macro's line, and is kept apart by a space */
		for (; *s != '\0' && strchr(",.;:()", *s) != NULL; s++)
			printf(" %c", *s);
		putchar('\n');
		in_line = false;
	}
	if (in_line)
		putchar('\n');
}

static void
print_row(enum why_code code)
{
	const struct why *w = why_row(code);

	printf(".It Sy %s Pq %s , %s\n", w->word, why_side_word(w->side), why_kind_word(w->kind));
	print_template(w->what);
	puts(".br");
	printf(".Em Next :\n");
	print_template(w->next);
}

static bool
print_part(const char *name)
{
	size_t i, k;

	for (i = 0; i < PT_COUNT(parts); i++) {
		if (strcmp(parts[i].name, name) != 0)
			continue;
		puts(".Bl -tag -width Ds");
		for (k = 0; k < parts[i].n; k++)
			print_row(parts[i].codes[k]);
		puts(".El");
		return true;
	}
	return false;
}

static void
print_words(void)
{
	const struct why_word *w;
	unsigned i;

	puts(".Bl -tag -width not-before-in");
	for (i = 0; (w = why_word(i)) != NULL; i++)
		printf(".It Ar %s\n%c%s.\n", w->name, toupper((unsigned char)w->help[0]), w->help + 1);
	puts(".El");
}

int
main(void)
{
	char line[LINE_OCTETS], name[32];
	size_t done = 0;

	while (fgets(line, sizeof line, stdin) != NULL) {
		if (strcmp(line, ".\\\" @words@\n") == 0)
			print_words();
		else if (sscanf(line, ".\\\" @codes %31[a-z]@", name) == 1)
			done += print_part(name);
		else
			fputs(line, stdout);
	}
	/* a part that the page forgets is a mistake of the page */
	return done != PT_COUNT(parts) || ferror(stdin) || fflush(stdout) != 0;
}
