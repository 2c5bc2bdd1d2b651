package main

import (
	"os"

	"github.com/spf13/cobra"

	"telemetry/lab/fire"
)

func fireCommand() *cobra.Command {
	var cfg fire.Config
	c := &cobra.Command{
		Use:   "fire",
		Short: "Play a CAN log on an emulated adapter while agent, receiver and links are killed, and compare (needs root)",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg.Progress = c.ErrOrStderr()
			res, err := fire.Run(c.Context(), cfg)
			return printFound(c, res, err)
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Bin, "bin", "bin", "folder of edgeagent and receiver")
	f.StringVar(&cfg.Log, "log", "", "candump log, plain, .gz or .zst")
	f.StringVar(&cfg.DBC, "dbc", "", "DBC file for the log's first interface")
	f.StringVar(&cfg.OracleDBC, "oracle-dbc", "", "DBC file for cantools, if it shall read another one")
	f.DurationVar(&cfg.Play, "play", 0, "play no more of the log than that (default all)")
	f.Uint64Var(&cfg.Seed, "seed", 1, "of the moments of all that happens")
	f.IntVar(&cfg.AgentKills, "agent-kills", 5, "how often the agent is killed")
	f.IntVar(&cfg.ReceiverKills, "receiver-kills", 5, "how often the receiver is killed")
	f.StringVar(&cfg.Kafka, "kafka", "embedded", "name of the Kafka in the result")
	f.StringSliceVar(&cfg.Brokers, "brokers", nil, "brokers of a real cluster (default the embedded Kafka)")
	f.StringVar(&cfg.Mosquitto, "mosquitto", "", "scripts/mosquitto.sh, to use Mosquitto (default the embedded broker)")
	f.StringVar(&cfg.Python, "python", "python3", "Python with cantools and confluent-kafka")
	f.StringVar(&cfg.Scripts, "scripts", "lab/fire", "folder of check_fire.py")
	f.StringVar(&cfg.CompareScripts, "compare-scripts", "lab/e2e", "folder of oracle.py")
	f.StringVar(&cfg.Dir, "dir", "", "folder for state and logs (default a new one, removed when all is well)")
	f.StringVar(&cfg.Cache, "cache", os.TempDir(), "folder for the decoded log")
	return c
}
