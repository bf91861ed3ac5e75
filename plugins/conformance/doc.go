// Package conformance is the kit that every lever has to pass, built in or from
// a plugin: the same cases, whoever wrote it and however it is reached.
//
// It owns the promises of sre.Remediator as tests: idempotent, revertible,
// fenced, honest about what is not known, a lease that ends. It never starts a
// target or a plugin: the author does, in a function that returns a Subject.
//
//	func TestConformance(t *testing.T) {
//		conformance.Run(t, func(t *testing.T) conformance.Subject {
//			return conformance.Subject{Lever: newLever(t), Action: good, Other: alsoGood}
//		})
//	}
//
// Each hook of the Subject that is filled in makes more cases run; the others
// are skipped and name the hook that they miss. README.md says how to run the
// kit against a binary. Start reading at Subject, then at Cases.
package conformance
