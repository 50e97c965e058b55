"""Every interleaving of small cases of the agreed state, over the real parts, up to stated bounds.

    freezing   what tells two states of a process apart, and how one is kept and woken
    cores      one process: the real parts, its timers, its disk, and who uses it; what it does with one input
    cast       all processes of a case, each state of each kept once, and each step of each taken once
    space      the search over whole states: what may happen next, and which states have been seen
    laws       what must hold in every state, and over every step
    cases      the cases with their bounds, and the planted faults that each of them must find

The trick that makes it cheap: what a process does with a message depends on that process alone. Whole states are combinations
of few states of processes with few sets of messages, so nearly every step has been taken before, in another combination, and
costs some dictionary look-ups. (Guerraoui and Yabandeh, "Model checking a networked system without the network", NSDI 2011,
go further: they leave the network away altogether, and must then discard combinations that cannot be.)"""
