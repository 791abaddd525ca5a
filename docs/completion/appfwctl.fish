# fish completion for appfwctl

set -l commands guard unguard grant revoke explain list rules status bridge up down

function __appfwctl_domains
    ps -eo label= 2>/dev/null | cut -d: -f3 | sort -u
end

complete -c appfwctl -f
complete -c appfwctl -l json -d 'Print JSON'
complete -c appfwctl -l help -d 'Show help'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -l version -d 'Print the version'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a guard -d 'Close a destination to all but those granted'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a unguard -d 'Take a guard away'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a grant -d 'Open a destination to a domain'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a revoke -d 'Take a grant away'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a explain -d 'Whether a domain reaches a destination'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a list -d 'Grants and guards'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a rules -d 'Labels, maps and counters'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a status -d 'Whether appfwd is in force'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a bridge -d 'Packets without a label'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a up -d 'Bring everything into force'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a down -d 'Take everything away'
complete -c appfwctl -n '__fish_seen_subcommand_from guard unguard grant revoke explain' -l in -d Inbound
complete -c appfwctl -n '__fish_seen_subcommand_from grant revoke explain' -a '(__appfwctl_domains)'
complete -c appfwctl -n '__fish_seen_subcommand_from bridge' -a 'open close'
complete -c appfwctl -n '__fish_seen_subcommand_from list' -l kind -x -a 'grant guard'
complete -c appfwctl -n '__fish_seen_subcommand_from list' -l domain -x -a '(__appfwctl_domains)'
complete -c appfwctl -n '__fish_seen_subcommand_from down' -l yes -d 'Do not ask'
