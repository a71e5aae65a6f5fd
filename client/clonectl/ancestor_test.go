package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// TestNearest: a tree is written as child<parent in the order of making; what
// begins with g is a golden, with s a snapshot.
func TestNearest(t *testing.T) {
	for _, test := range []struct{ tree, ours, theirs, want string }{
		{"g s1<g a<s1 b<s1", "a", "b", "a@s1"},
		{"g s1<g a<s1 s2<g b<s2", "a", "b", "a@s1"},
		{"g s1<g a<s1 s2<g b<s2", "b", "a", "a@s1"},
		{"g s1<g a<s1 s2<a b<s2", "a", "b", "b@s2"},
		{"g s1<g a<s1 s2<a b<s2", "b", "a", "b@s2"},
		{"g s1<g x<s1 s2<x a<s2 s3<x b<s3", "a", "b", "a@s2"},
		{"g s1<g x<s1 s2<x a<s2 s3<a b<s3 s4<b c<s4", "a", "c", "c@s3"},
		{"g s1<g a<s1 gg s2<gg b<s2", "a", "b", ""},
	} {
		var nodes []*clonedv1.TreeNode
		for i, word := range strings.Fields(test.tree) {
			id, parent, _ := strings.Cut(word, "<")
			kind := clonedv1.TreeNode_KIND_CLONE
			switch id[0] {
			case 'g':
				kind = clonedv1.TreeNode_KIND_GOLDEN
			case 's':
				kind = clonedv1.TreeNode_KIND_SNAPSHOT
			}
			nodes = append(nodes, &clonedv1.TreeNode{Kind: kind, Id: id, Parent: parent, CreateTime: timestamppb.New(time.Unix(int64(i), 0))})
		}
		got, err := nearest(nodes, &clonedv1.Clone{Id: test.ours, Name: test.ours}, &clonedv1.Clone{Id: test.theirs, Name: test.theirs})
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s: %s and %s: %q, %v; want %q", test.tree, test.ours, test.theirs, got, err, test.want)
		}
	}
	if got := scratchName(strings.Repeat("x", 70), "merge"); len(got) > maxName || !strings.HasPrefix(fmt.Sprint(got), "xxx") {
		t.Errorf("%q is no name", got)
	}
}
