/* conf/conf_tree.c - repairs the shape of a tree whose file lacks a closing brace. */
#include "conf/conf_tree.h"

static unsigned
column(const struct conf_node *n)
{
	return n->words.first != NULL ? n->words.first->pos.column : n->brace->pos.column;
}

static unsigned
line(const struct conf_node *n)
{
	return n->words.first != NULL ? n->words.first->pos.line : n->brace->pos.line;
}

/* Whether child, found in the unclosed block of n, was meant to stand behind n. In a file that is
 * indented the column tells; in one that is not, the next block is taken for a neighbour. */
static bool
stands_behind(const struct conf_node *n, const struct conf_node *child)
{
	const struct conf_node *first = n->block.first;

	if (line(child) == line(n))
		return false;
	if (column(first) > column(n) || line(first) == line(n))
		return column(child) <= column(n);
	return child->brace != NULL;
}

/* Cuts the tail that was meant to stand behind n out of its block. */
static struct conf_list
cut_tail(struct conf_node *n)
{
	struct conf_list tail = { NULL, NULL };
	struct conf_node *c, *before = NULL;

	for (c = n->block.first; c != NULL && !stands_behind(n, c); c = c->next)
		before = c;
	if (c == NULL)
		return tail;
	tail.first = c;
	tail.last = n->block.last;
	n->block.last = before;
	if (before != NULL)
		before->next = NULL;
	else
		n->block.first = NULL;
	return tail;
}

void
conf_tree_hoist(struct conf_list *list)
{
	struct conf_node *n;
	struct conf_list tail;

	for (n = list->first; n != NULL; n = n->next) {
		conf_tree_hoist(&n->block);
		if (n->brace == NULL || !n->brace->unclosed)
			continue;
		tail = cut_tail(n);
		if (tail.first == NULL)
			continue;
		tail.last->next = n->next;
		n->next = tail.first;
		if (list->last == n)
			list->last = tail.last;
	}
}
