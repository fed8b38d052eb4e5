package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// cli is what the commands share.
type cli struct {
	out, err io.Writer
	view     view
	config   *genericclioptions.ConfigFlags
	hub      hubFlags
}

func rootCommand(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-lastcall",
		Short: "When has everyone let go of a terminating pod?",
		Long: `When has everyone let go of a terminating pod?

A pod's shutdown and its removal from every load balancer run in parallel. Until
the last node has let go, new connections still reach the dying pod. lastcall
times that in every node's kernel, and this asks its hub what it saw.`,
		Example: `  # What did the last rollout of the deployment shop look like?
  kubectl lastcall explain deploy/shop

  # How long must preStop sleep, everywhere and in shop? What to type?
  kubectl lastcall recommend -A
  kubectl lastcall recommend deploy/shop

  # And before anything has left: make a canary, delete its pods for 90 s
  kubectl lastcall measure -n sandbox

  # Which nodes have not let go of pods that left long ago?
  kubectl lastcall places

  # Does lastcall work here? Would it, if it were installed?
  kubectl lastcall check
  kubectl lastcall check --pre`,
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl lastcall"},
		Version:           buildVersion(),
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no command %q\nSee: kubectl lastcall --help", args[0])
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error { return c.hub.validate() },
	}
	root.SetOut(c.out)
	root.SetErr(c.err)
	c.config = genericclioptions.NewConfigFlags(true)
	c.config.WrapConfigFn = func(r *rest.Config) *rest.Config {
		r.UserAgent = "kubectl-lastcall/" + buildVersion()
		r.QPS, r.Burst = 50, 100 // client-go's own are for controllers: a check of twenty rights would take seconds
		return r
	}
	c.config.AddFlags(root.PersistentFlags())
	c.hub.add(root.PersistentFlags())
	root.AddCommand(explainCommand(c), recommendCommand(c), measureCommand(c), placesCommand(c), checkCommand(c), optionsCommand())
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.SetUsageTemplate(usage)
	root.SetHelpTemplate(help)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w\nSee: %s --help", err, cmd.CommandPath())
	})
	cobra.AddTemplateFunc("flags", flagUsages)
	return root
}

// optionsCommand lists the flags of every command, as kubectl does, so that each command's help has its own only.
func optionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "options",
		Short: "List the flags that every command takes, such as --context and --hub",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintln(cmd.OutOrStdout(), "These flags can be given to any command:")
			fmt.Fprintln(cmd.OutOrStdout())
			fmt.Fprint(cmd.OutOrStdout(), flagUsages(cmd.InheritedFlags()))
			return nil
		},
	}
}

func flagUsages(f *pflag.FlagSet) string { return f.FlagUsagesWrapped(92) }

const (
	help = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}`
	usage = `{{if .HasExample}}Examples:
{{.Example}}

{{end}}{{if .HasAvailableSubCommands}}Commands:
{{range .Commands}}{{if .IsAvailableCommand}}  {{rpad .Name .NamePadding}} {{.Short}}
{{end}}{{end}}
{{end}}{{if .HasParent}}{{if .HasAvailableLocalFlags}}Options:
{{flags .LocalNonPersistentFlags}}
{{end}}{{end}}Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND [flags]{{else}}{{.UseLine}}{{end}}

{{if .HasAvailableSubCommands}}Use "{{.CommandPath}} COMMAND --help" for more about a command.
{{end}}Use "kubectl lastcall options" for the flags of every command: -n, --context, --hub ...
`
)

// restConfig and kubernetes speak to the API server as kubectl would.
func (c *cli) restConfig() (*rest.Config, error) {
	config, err := c.config.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster to talk to: %w\nDoes `kubectl get nodes` work? --kubeconfig and --context choose a cluster, --hub goes to a hub directly", err)
	}
	return config, nil
}

func (c *cli) kubernetes() (kubernetes.Interface, error) {
	config, err := c.restConfig()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// namespace is that of -n, else of the kubeconfig's context.
func (c *cli) namespace() (string, error) {
	ns, _, err := c.config.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		if c.hub.url != "" { // needs no kubeconfig
			return "default", nil
		}
		return "", fmt.Errorf("the kubeconfig: %w", err)
	}
	return ns, nil
}

// note tells the user something that is not the answer.
func (c *cli) note(format string, args ...any) {
	for _, line := range strings.Split(fmt.Sprintf(format, args...), "\n") {
		fmt.Fprintln(c.err, visible(line))
	}
}

// errCheckFailed ends the program with 1, and nothing more is said.
var errCheckFailed = errors.New("a check failed")
