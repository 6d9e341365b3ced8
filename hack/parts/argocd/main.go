// Command argocd-core: the Argo CD components that a "core" install needs, and no more.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	appcontroller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	gitaskpass "github.com/argoproj/argo-cd/v3/cmd/argocd-git-ask-pass/commands"
	reposerver "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	"github.com/argoproj/argo-cd/v3/util/log"
)

func init() {
	klog.SetLogger(log.NewLogrusLogger(log.NewWithCurrentConfig()))
}

func main() {
	name := filepath.Base(os.Args[0])
	if v := os.Getenv("ARGOCD_BINARY_NAME"); v != "" {
		name = v
	}
	var c *cobra.Command
	switch name {
	case "argocd-application-controller":
		c = appcontroller.NewCommand()
	case "argocd-repo-server":
		c = reposerver.NewCommand()
	case "argocd-git-ask-pass":
		c = gitaskpass.NewCommand()
	default:
		fmt.Fprintln(os.Stderr, "unknown component: "+name)
		os.Exit(2)
	}
	if err := c.Execute(); err != nil {
		os.Exit(1)
	}
}
