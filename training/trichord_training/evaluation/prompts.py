"""Fifty prompts whose answers by the untouched base tell whether text ability stayed. None is replayed in training."""

PROMPTS = (
    "What is the capital of France?", "Name three colours of the rainbow.", "Write two sentences about snow.",
    "What is two plus two?", "Who painted the Mona Lisa?", "Which planet is the largest?", "What does a vet do?",
    "Explain electricity to a child.", "How do I make a cup of tea?", "Why is the sea salty?", "What is an adjective?",
    "Which day comes after Tuesday?", "Tell me a short joke.", "How many legs does a spider have?",
    "Write a Python function that adds two numbers.", "What is the opposite of hot?", "Is a tomato a fruit?",
    "Continue the story: once upon a time there was a bear.", "What is evaporation?", "Describe a sunset.",
    "Give me three tips for a job interview.", "Which is the longest river?", "What is an even number?",
    "Name a famous composer and one of the pieces.", "What should I pack for a week at the sea?",
    "Explain what the internet does.", "How hot is boiling water?", "Write a short note that thanks a neighbour.",
    "Why do leaves turn red in autumn?", "What is a constitution?", "Suggest a name for a dog and say why.",
    "How do birds fly?", "How does a hill differ from a mountain?", "Give an example of a simile.",
    "What is the currency of Japan?", "How can I learn to play the guitar?", "Summarise why exercise is healthy.",
    "What causes thunder?", "Write a poem of four lines about the moon.", "Who was the first person on the moon?",
    "What is the square root of sixteen?", "How do magnets work?", "What is a healthy breakfast?",
    "Explain the word 'patience'.", "What language is spoken in Brazil?", "How do I change a flat tyre?",
    "What is the purpose of a library?", "Name two animals that live in Australia.", "What happens when ice melts?",
    "Say good night to a child.",
)  # fmt: skip
